# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The commands and the YAML of README and docs: each command parses with its own options, each YAML file is read.

Most of these commands need data, hours or a login, so that no test can run them as they are printed.
"""

import importlib
import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from locant.commands import study
from locant.commands.workers import read_workers
from locant.studies.search_config import parse_search
from locant.training.options.run_config import parse_run_config, read_given
from locant_command import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
SHELL = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text):
    """The words of each command in the console blocks of a page; a pipe separates two commands."""
    for block in SHELL.findall(text):
        for line in re.findall(r"^\$ (.*)$", block.replace("\\\n", ""), re.MULTILINE):
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&;")
            lexer.whitespace_split = True
            words = []
            for word in [*lexer, "|"]:
                if set(word) <= set("|&;"):
                    yield words
                    words = []
                else:
                    words.append(word)


def check_locant(name, arguments):
    """Parse the arguments of a command of `locant` as the command does; a YAML file need not exist."""
    if "--help" in arguments:
        with pytest.raises(SystemExit, match="0"):
            importlib.import_module(COMMANDS[name][0]).run(arguments)
    elif name == "train":
        parse_run_config([known_yaml(arguments[0]), *arguments[1:]])
    elif name == "search":
        _, rest = read_workers("locant search", arguments)
        assert parse_search(rest, None)
    else:
        if name == "study":
            name, *arguments = arguments
            module = importlib.import_module(study.SUBJECTS[name][0])
        else:
            module = importlib.import_module(COMMANDS[name][0])
        assert module._parser().parse_intermixed_args(arguments)


def known_yaml(file):
    """The file, if the repository has it; otherwise a file of the same kind stands for it."""
    return file if (ROOT / file).is_file() else "examples/phrasebook.yaml"


def check_extras(argument):
    """The extras in an argument of pip, as in 'locant[plots,search]', exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for names in re.findall(r"\[(.*)\]", argument):
        assert set(names.split(",")) <= extras.keys()


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if SHELL.search(text)])
def test_the_commands_of_a_page_have_the_options_that_it_gives_them(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    checked = 0
    for words in commands(PAGES[page]):
        words = list(itertools.takewhile(lambda word: word not in ("<", ">"), words))
        words = list(itertools.dropwhile(re.compile(r"[A-Z_]+=").match, words))  # environment variables
        if not words:
            continue
        if words[:2] == ["accelerate", "launch"]:
            words = words[words.index("-m") + 1 :]
        program, *arguments = words
        if program == "locant":
            check_locant(arguments[0], arguments[1:])
        elif program == "python" and arguments[0] != "-m":
            text = (ROOT / arguments[0]).read_text("utf-8")
            assert all(f'"{argument}"' in text for argument in arguments[1:] if argument.startswith("--"))
        elif program == "make":
            assert re.search(rf"^{arguments[0]}( \S+)*:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        elif program == "pip":
            for argument in arguments:
                check_extras(argument)
        else:
            assert program in ("cd", "curl", "echo", "git", "hf", "python", "python3", "source"), words
        checked += 1
    assert checked


@pytest.mark.parametrize(
    ("page", "text"), [(page, block) for page, text in PAGES.items() for block in YAML.findall(text)]
)
def test_the_yaml_of_a_page_has_options_that_exist_and_values_of_their_types(page, text, tmp_path):
    file = tmp_path / "page.yaml"
    file.write_text(text, encoding="utf-8")
    section = next((name for name in ("study", "search") if text.startswith(f"{name}:")), None)
    assert read_given([str(file)], section)[1] or section


@pytest.mark.parametrize(
    "wrong",
    ["locant train my.yaml --learning_rat 1", "locant push runs/a me/a --dry_run", "locant translate a --beams 5"],
)
def test_a_command_with_an_option_that_does_not_exist_fails(wrong, monkeypatch):
    monkeypatch.chdir(ROOT)
    [[_, name, *arguments]] = commands(f"```console\n$ {wrong}\n```\n")
    with pytest.raises((ValueError, SystemExit)):
        check_locant(name, arguments)
