# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant search`: its help, its own option, and the message without Optuna."""

import sys

import pytest

from locant.cli import main
from locant.studies import search, search_config
from locant.studies.search_config import KEYS


def test_help_explains_every_key_of_the_section(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["search", "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith("usage: locant search SEARCH.yaml")
    assert [key for key in KEYS if f"\n  {key} " not in printed and f"\n    {key}:" not in printed] == []


@pytest.mark.parametrize(("arguments", "workers"), [([], None), (["--workers", "3"], 3)])
def test_the_number_of_workers_is_an_option(monkeypatch, tmp_path, capsys, arguments, workers):
    calls = []
    file = tmp_path / "x.yaml"
    file.touch()
    monkeypatch.setattr(search_config, "parse_search", lambda *given: calls.append(given))
    monkeypatch.setattr(search, "run_search", lambda found: "there/report.md")
    assert main(["search", str(file), *arguments, "--seed", "1"]) == 0
    assert calls == [([str(file), "--seed", "1"], workers)]
    assert capsys.readouterr().out == "The report is there/report.md\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "No SEARCH.yaml is given"),
        (["none.yaml"], "none.yaml cannot be read"),
        (["--workers", "0"], "--workers is 0, but must be at least 1."),
        (["--workers", "two"], "invalid int value: 'two'; see locant search --help."),
    ],
)
def test_arguments_that_cannot_be_used_are_one_sentence(capsys, arguments, message):
    assert main(["search", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("locant search: error: ") and message in error and error.count("\n") == 1


def test_without_optuna_the_message_names_the_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "x.yaml").touch()
    assert main(["search", str(tmp_path / "x.yaml")]) == 2
    assert "pip install 'locant[search]'" in capsys.readouterr().err
