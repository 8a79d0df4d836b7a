# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints and models are saved and deleted so that a kill in between leaves none that looks complete."""

import errno
import os

import pytest

from locant.training.errors import InputError
from locant.training.run.failures import in_one_sentence
from locant.training.run.run_folder import complete_checkpoints, holds_unfinished_run, is_complete, is_extra
from locant.training.run.saving import begin_checkpoint, replaced_model, rotate


@pytest.fixture
def make(tmp_path):
    """Make a checkpoint of a step."""

    def checkpoint(step, extra=False, complete=True):
        path = tmp_path / f"checkpoint-{step}"
        begin_checkpoint(path, extra)
        (path / "model.safetensors").touch()
        if complete:
            (path / "trainer_state.json").write_text("{}")
        return path

    return checkpoint


def steps(folder):
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*"))


class TestComplete:
    @pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json"])
    def test_not_without_weights_or_state(self, make, name):
        checkpoint = make(5)
        assert is_complete(checkpoint)
        (checkpoint / name).unlink()
        assert not is_complete(checkpoint)

    def test_not_while_it_is_saved_again(self, make):
        checkpoint = make(5)
        begin_checkpoint(checkpoint, extra=False)
        assert not is_complete(checkpoint)

    def test_a_checkpoint_that_the_run_saves_anyway_does_not_become_extra(self, make):
        assert not is_extra(make(5))
        assert not is_extra(make(5, extra=True))
        assert is_extra(make(6, extra=True))
        assert is_extra(make(6, extra=True))
        assert not is_extra(make(6))


class TestRotation:
    def test_keeps_the_last_by_step_and_the_best(self, tmp_path, make):
        paths = {step: make(step) for step in (5, 10, 100, 15, 20)}
        os.utime(paths[100], (0, 0))  # as in a folder that was copied
        rotate(tmp_path, None, None)
        assert steps(tmp_path) == [5, 10, 15, 20, 100]
        rotate(tmp_path, 3, paths[10])
        assert steps(tmp_path) == [10, 20, 100]
        rotate(tmp_path, 3, paths[10])
        assert steps(tmp_path) == [10, 20, 100]

    def test_extra_checkpoints_neither_count_nor_stay(self, tmp_path, make):
        for step in (5, 10):
            make(step)
        for step in (11, 13):
            make(step, extra=True)
        make(12, extra=True, complete=False)
        rotate(tmp_path, 2, None)
        assert steps(tmp_path) == [5, 10, 13]
        make(15)
        rotate(tmp_path, 2, None)
        assert steps(tmp_path) == [10, 15]

    def test_deletes_what_a_killed_process_had_begun_to_delete(self, tmp_path, make):
        make(5).rename(tmp_path / ".deleted-checkpoint-5")
        rotate(tmp_path, 2, None)
        assert list(tmp_path.iterdir()) == []


class TestReplacedModel:
    def test_has_its_config_last(self, tmp_path, monkeypatch):
        (tmp_path / "run_config.yaml").touch()
        (tmp_path / "config.json").write_text("old")
        replace = os.replace

        def watch(source, target):
            assert holds_unfinished_run(tmp_path)
            replace(source, target)

        monkeypatch.setattr(os, "replace", watch)
        with replaced_model(tmp_path) as unfinished:
            for name in ("config.json", "model.safetensors", "zz"):
                (unfinished / name).write_text("new")
        assert not holds_unfinished_run(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "config.json",
            "model.safetensors",
            "run_config.yaml",
            "zz",
        ]
        assert (tmp_path / "config.json").read_text() == "new"

    def test_leaves_the_old_model_if_the_new_one_cannot_be_written(self, tmp_path):
        (tmp_path / "config.json").write_text("old")
        with pytest.raises(OSError), replaced_model(tmp_path) as unfinished:
            (unfinished / "config.json").write_text("new")
            raise OSError
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.json", "old")]


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "beginning"),
        [
            (OSError(errno.ENOSPC, "full"), "Access to {} failed (No space left on device): free"),
            (PermissionError(errno.EACCES, "no", "a/b"), "Access to a/b failed (Permission denied): make it"),
            (Exception("I/O error: full (os error 28)"), "Access to {} failed (No space left on device): free"),
            (RuntimeError("PytorchStreamWriter failed"), "Access to {} failed (Input/output error): check the"),
            (RuntimeError("DataLoader worker (pid 7) is killed"), "A process that loads data has died (DataLoader wo"),
        ],
        ids=["write", "open", "rust", "torch", "worker"],
    )
    def test_name_the_place_the_reason_and_the_last_good_checkpoint(self, tmp_path, make, error, beginning):
        good = make(5)
        make(10, complete=False)
        with pytest.raises(InputError) as raised, in_one_sentence(tmp_path, tmp_path, has_lock=True):
            try:
                raise error
            finally:
                raise ValueError  # an error in the handling of the first, as in the `with` blocks of torch.save
        assert str(raised.value).startswith(beginning.format(tmp_path))
        assert str(raised.value).endswith(f"to resume from its last good checkpoint, {good} (step 5).")
        assert complete_checkpoints(tmp_path) == [good]
        assert steps(tmp_path) == [5]

    def test_in_another_process_leave_the_checkpoint_that_a_run_is_writing(self, tmp_path, make):
        make(10, complete=False)
        with pytest.raises(InputError, match="No space left"), in_one_sentence(tmp_path, tmp_path):
            raise OSError(errno.ENOSPC, "full")
        assert steps(tmp_path) == [10]

    @pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "a"), RuntimeError("a bug"), KeyError("a")])
    def test_do_not_hide_other_errors(self, tmp_path, error):
        with pytest.raises(type(error)), in_one_sentence(tmp_path, tmp_path):
            raise error
