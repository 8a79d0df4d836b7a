# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant study`: which study runs, and what the options of `locant study positions` mean."""

import sys
import types
from pathlib import Path

import pytest

from locant.cli import main
from locant.commands.study import SUBJECTS
from locant.studies import position_study
from locant.studies.position_study import StudySize


@pytest.fixture
def runs(monkeypatch):
    """What `run_study` was called with, and nothing trained."""
    calls = []

    def run_study(*arguments, **options):
        calls.append((*arguments, options))
        return Path("there/report.md")

    monkeypatch.setattr(position_study, "run_study", run_study)
    return calls


def test_help_lists_the_subjects(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["study", "--help"])
    printed = capsys.readouterr().out
    assert all(f"{name}:" in printed for name in SUBJECTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: SUBJECT; see locant study --help."),
        (["position"], "argument SUBJECT: invalid choice: 'position' (choose from "),
    ],
)
def test_a_subject_that_does_not_exist_is_an_error(capsys, arguments, message):
    assert main(["study", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"locant study: error: {message}") and error.endswith("; see locant study --help.\n")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_gets_the_arguments_behind_it(monkeypatch, subject):
    calls = []
    monkeypatch.setitem(sys.modules, SUBJECTS[subject][0], types.SimpleNamespace(run=calls.append))
    assert main(["study", subject, "--x", "1"]) == 0
    assert calls == [["--x", "1"]]


class TestPositions:
    def test_by_default_all_encodings_are_trained_with_three_seeds(self, runs, capsys):
        assert main(["study", "positions"]) == 0
        folder, encodings, seeds, size, options = runs[0]
        assert (folder, encodings, seeds, size) == ("runs/study-positions", None, [0, 1, 2], StudySize())
        assert options["workers"] >= 1 and options["show_progress"]
        assert capsys.readouterr().out.startswith("The report is there/report.md (")

    def test_options_choose(self, runs):
        arguments = "--output_dir x --encodings none t5 --seeds 4 --order_steps 5 --length_steps 6 --train_length 20"
        assert main(["study", "positions", *arguments.split(), "--workers", "1", "--no_progress"]) == 0
        options = {"workers": 1, "show_progress": False}
        assert runs == [("x", ["none", "t5"], [4], StudySize(5, 6, 20), options)]

    def test_an_unknown_encoding_is_one_sentence(self, capsys, tmp_path):
        assert main(["study", "positions", "--output_dir", str(tmp_path / "x"), "--encodings", "alibbi"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("locant study: error: encodings: 'alibbi' is not a position encoding; ")
        assert error.endswith('did you mean "alibi"?\n') and error.count("\n") == 1

    @pytest.mark.parametrize("option", ["--seeds x", "--order_steps 0", "--workers -1", "--step 3"])
    def test_an_option_that_cannot_be_read_is_status_2(self, option, capsys):
        assert main(["study", "positions", *option.split()]) == 2
        assert "see locant study positions --help." in capsys.readouterr().err
