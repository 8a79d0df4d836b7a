# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant new` writes a project that `locant train` accepts."""

import shlex
from pathlib import Path

import pytest

from locant.cli import main
from locant.commands import new

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def small(monkeypatch):
    """Make the corpora of this test small, because the whole one takes seconds."""
    monkeypatch.setattr(new, "TRAIN_PAIRS", 300)
    monkeypatch.setattr(new, "DEV_PAIRS", 8)
    monkeypatch.setattr(new, "TEST_PAIRS", 8)


def test_a_new_project_passes_the_dry_run_of_its_first_training(small, tmp_path, monkeypatch, capsys):
    assert main(["new", "phrasebook", str(tmp_path / "my")]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert commands == [f"cd {tmp_path / 'my'}", "locant train phrasebook.yaml"]
    monkeypatch.chdir(tmp_path / "my")
    assert main([*commands[1].split()[1:], "--dry_run"]) == 0
    assert "300" in capsys.readouterr().out
    assert not (tmp_path / "my" / "examples").exists()


def test_a_new_project_has_the_model_and_the_options_of_make_train(small, tmp_path):
    assert main(["new", "phrasebook", str(tmp_path)]) == 0
    written, example = ((folder / "phrasebook.yaml").read_text("utf-8") for folder in (tmp_path, EXAMPLES))
    changed = [line for line in example.splitlines() if line not in written.splitlines()]
    assert len(changed) == 3
    assert all("examples/data/phrasebook/" in line for line in changed)


def test_a_folder_with_files_is_refused_and_kept(small, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["new", "phrasebook", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_printed_commands_work_in_a_folder_with_a_space(small, tmp_path, capsys):
    assert main(["new", "phrasebook", str(tmp_path / "my project")]) == 0
    first, _ = capsys.readouterr().out.splitlines()
    assert shlex.split(first) == ["cd", str(tmp_path / "my project")]
