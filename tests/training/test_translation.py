# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant train` from its command line to the folder that it leaves, on the toy language of `tests/conftest.py`."""

import json

import pytest
import torch
from locant.training import translation
from locant.training.run_folder import RunFolder
from locant.training.trainer import TranslationTrainer
from safetensors.torch import load_file

SHORT = {"num_train_epochs": 1, "predict_with_generate": "false", "metric_for_best_model": "loss"}
SHORT["greater_is_better"] = "false"  # one epoch without generation, for what a full run would show no better


class Stopped(BaseException):
    """Stands for a kill: nothing catches it."""


def weights(folder):
    return load_file(folder / "model.safetensors")


def same_bits(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def trained_steps(monkeypatch):
    """A list that gets the global step of each training step from now on."""
    steps, original = [], TranslationTrainer.training_step

    def training_step(self, *args, **kwargs):
        steps.append(self.state.global_step)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(TranslationTrainer, "training_step", training_step)
    return steps


class TestSameCommand:
    def test_and_seed_give_the_same_bits_and_numbers(self, toy, trained_run, tmp_path):
        assert toy.train(tmp_path / "again") == 0
        assert same_bits(tmp_path / "again", trained_run)
        first, again = metrics(trained_run), metrics(tmp_path / "again")
        del first["training_seconds"], again["training_seconds"]
        assert first == again

    def test_and_another_seed_give_others(self, toy, trained_run, tmp_path):
        assert toy.train(tmp_path / "other", seed=7) == 0
        one, other = weights(trained_run), weights(tmp_path / "other")
        assert one.keys() == other.keys()
        assert not torch.equal(one["model.shared.weight"], other["model.shared.weight"])

    def test_on_a_finished_run_trains_nothing_and_changes_nothing(self, toy, trained_run, monkeypatch, capsys):
        steps, before = trained_steps(monkeypatch), contents(trained_run)
        assert toy.train(trained_run) == 0
        assert steps == []
        assert contents(trained_run) == before
        out = capsys.readouterr().out
        assert f"{trained_run} is finished already: a larger num_train_epochs goes on with it." in out
        assert f"test: BLEU {metrics(trained_run)['test']['bleu']:.2f}" in out

    def test_with_bpe_dropout_too(self, toy, tmp_path):
        options = {**SHORT, "bpe_dropout": 0.3}
        for name, seed in (("one", 1), ("same", 1), ("other", 2)):
            assert toy.train(tmp_path / name, **options, seed=seed) == 0
        assert toy.train(tmp_path / "none", **SHORT, seed=1) == 0
        assert same_bits(tmp_path / "one", tmp_path / "same")
        assert not same_bits(tmp_path / "one", tmp_path / "other")
        assert not same_bits(tmp_path / "one", tmp_path / "none")


class TestKilled:
    """Started again with the same command, a run ends as if nothing had happened to it."""

    # Where the run is stopped: owner and name of a function, and at which of its calls. An epoch has 40 steps.
    moments = {
        "while the folder is claimed": (RunFolder, "claim", 1),
        "in the first epoch": (TranslationTrainer, "training_step", 11),
        "in the second epoch": (TranslationTrainer, "training_step", 60),
        "in an evaluation": (TranslationTrainer, "prediction_step", 2),
        "before the optimiser is in the second checkpoint": (TranslationTrainer, "_save_optimizer_and_scheduler", 2),
        "before the state is in the last checkpoint": (TranslationTrainer, "_save_rng_state", 3),
        "when the best weights are loaded": (TranslationTrainer, "_load_best_model", 1),
        "when the model is measured": (translation, "evaluate_split", 2),
        "before it is finished": (RunFolder, "write_metrics", 4),
    }

    @pytest.mark.parametrize(("owner", "name", "call"), moments.values(), ids=moments)
    def test_at(self, toy, trained_run, tmp_path, monkeypatch, owner, name, call):
        folder, calls, original = tmp_path / "run", [], getattr(owner, name)

        def stop(*args, **kwargs):
            calls.append(name)
            if len(calls) == call:
                raise Stopped
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises(Stopped):
                toy.train(folder)
        kept = RunFolder.checkpoints(RunFolder.__new__(RunFolder)) if False else checkpoints_of(folder)
        assert not RunFolderOf(folder).metrics().get("finished")
        steps = trained_steps(monkeypatch)
        assert toy.train(folder) == 0
        assert steps == list(range(max(kept, default=0), 120))
        assert same_bits(folder, trained_run)
        assert metrics(folder)["epochs"] == metrics(trained_run)["epochs"]
        assert metrics(folder)["test"] == metrics(trained_run)["test"]
