# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The entry point of the program `locant`, which passes the command line to `locant.cli`.

Importing the package `locant` takes seconds. This module is outside of the package, so that it can print the usage or
the version, or report an unknown command or a missing YAML file, before it imports the package.
"""

import difflib
import os
import sys
from importlib.metadata import version
from pathlib import Path

# Subcommand -> the module whose `run` takes the arguments of the subcommand, and a summary for the usage message.
COMMANDS = {
    "new": ("locant.commands.new", "write a project with data and a YAML file, ready for locant train"),
    "train": ("locant.commands.train", "train or fine-tune a translator or a model for another task"),
    "evaluate": ("locant.commands.evaluate", "measure a model on a test set"),
    "translate": ("locant.commands.translate", "translate text, one sentence per line"),
    "predict": (
        "locant.commands.predict",
        "predict labels, captions, continuations or masked tokens",
    ),
    "score": (
        "locant.commands.score",
        "compute log-probabilities of given translations, or of text under a language model",
    ),
    "visualize": ("locant.commands.visualize", "draw attention, position encoding and word alignment"),
    "align": ("locant.commands.align", "align the words of translations, in Pharaoh format"),
    "push": ("locant.commands.push", "put a model with its card and its code on the Hub"),
    "convert": (
        "locant.commands.convert",
        "convert a model of another family to Locant, or a Locant model to another family",
    ),
    "export": ("locant.commands.export", "write a model for another engine: CTranslate2 or ONNX"),
    "serve": ("locant.commands.serve", "answer requests for translations or classifications over HTTP"),
    "demo": ("locant.commands.demo", "serve a page on which to try a model in a browser"),
    "search": ("locant.commands.search", "search for hyperparameters of locant train"),
    "study": ("locant.commands.study", "compare position encodings"),
}

_USAGE = "\n".join(
    [
        "usage: locant COMMAND ...",
        "",
        "commands:",
        *(f"  {name:<10} {summary}" for name, (_, summary) in COMMANDS.items()),
        "",
        "locant COMMAND --help explains a command; locant --version prints the version.",
    ]
)
_RUN_FROM_YAML = ("train", "search")  # the commands whose first argument is a YAML file


def main() -> int:
    """Run the command line of the program, and return the exit status, which `locant.cli.main` describes."""
    arguments = sys.argv[1:]
    status = answer_without_package(arguments)
    if status is not None:
        return status
    try:
        from locant.cli import main as run
    except KeyboardInterrupt:
        print("locant: interrupted", file=sys.stderr)
        return 130
    return run(arguments)


def answer_without_package(arguments: list[str]) -> int | None:
    """Answer a command line without the package, if that is possible: print the answer and return the exit status.

    Returns None, and prints nothing, if the package is needed to run the command line.
    """
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in ("-h", "--help"):
        print(_USAGE)
        return 0
    if name == "--version":
        print(f"locant {version('locant')}")
        return 0
    if name not in COMMANDS:
        print(_unknown_command(name), file=sys.stderr)
        return 2
    file = next(iter(rest), "")
    is_yaml = name in _RUN_FROM_YAML and file.endswith((".yaml", ".yml"))
    if is_yaml and not {"-h", "--help"} & set(rest) and not os.path.exists(file):
        problem = f"{file} cannot be read: No such file or directory"
        print(f"locant {name}: error: {problem}; {_yaml_file_hint(Path(file))}", file=sys.stderr)
        return 2
    return None


def _yaml_file_hint(missing: Path) -> str:
    names = [file.name for file in missing.parent.glob("*.y*ml")]
    nearest = difflib.get_close_matches(missing.name, names, n=1)
    return f"did you mean {missing.parent / nearest[0]}?" if nearest else "give the path of a readable YAML file."


def _unknown_command(name: str) -> str:
    if not name:
        return _USAGE
    nearest = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the commands are {', '.join(COMMANDS)}."
    return f"locant: error: {name} is not a command: {hint}"
