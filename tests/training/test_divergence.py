# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A run that diverges, or that learns nothing, says so."""

import json
import math

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict

from locant.training.run.trainer import GenerationTrainer, RecipeTrainer
from locant.training.tasks.baseline import baseline, compare_with_baseline
from locant.training.tasks.recipe import PreparedData
from locant.training.tasks.translation_metrics import perplexity

STEPS = 40  # in an epoch of the toy run
MESSAGE = (
    "locant train: error: Training diverged at step {step} of 120: the {what} is {value} at a learning rate of {rate}, "
    "and {last}; give a lower learning_rate or more warmup_steps, and another output_dir.\n"
)


@pytest.fixture
def break_at(monkeypatch):
    """Replace the result of one call of a method of the trainer."""

    def install(name, call, value):
        original, calls = getattr(RecipeTrainer.__mro__[1], name), []  # below the checks of RecipeTrainer

        def broken(self, *args, **kwargs):
            found = original(self, *args, **kwargs)
            calls.append(name)
            return value(found) if len(calls) == call else found

        monkeypatch.setattr(RecipeTrainer.__mro__[1], name, broken)

    return install


def left_by(folder):
    """What a run that was stopped leaves: (whether it is finished, its evaluations)."""
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    return metrics["finished"], len(metrics.get("epochs", []))


class TestStops:
    @pytest.mark.sampled(2)
    @pytest.mark.parametrize(
        ("name", "call", "what"),
        [
            ("training_step", STEPS + 3, "loss"),
            ("_get_grad_norm", STEPS + 3, "norm of the gradient"),
        ],
    )
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_at_the_first_step_that_is_not_finite(self, toy, tmp_path, capsys, break_at, name, call, what, value):
        folder = tmp_path / "run"
        break_at(name, call, lambda found: found * 0 + value)
        assert toy.train(folder, predict_with_generate="false") == 2
        last = f"the last good checkpoint is {folder / 'checkpoint-40'}"
        # inverse_sqrt after 10 steps of warm-up to 0.01
        expected = MESSAGE.format(
            step=STEPS + 3, what=what, value=value, rate=f"{0.01 * (10 / 42) ** 0.5:.3g}", last=last
        )
        assert capsys.readouterr().err.endswith(expected)
        assert left_by(folder) == (False, 1)
        assert not (folder / "model.safetensors").exists()

    def test_before_an_evaluation_that_is_not_finite_is_written(self, toy, tmp_path, capsys, break_at):
        folder = tmp_path / "run"
        break_at(
            "evaluation_loop", 1, lambda output: output._replace(metrics={**output.metrics, "eval_loss": math.nan})
        )
        assert toy.train(folder, predict_with_generate="false") == 2
        error = capsys.readouterr().err
        assert "diverged at step 40 of 120: the validation loss is nan" in error
        assert "and there is no checkpoint before it; give" in error
        assert left_by(folder) == (False, 0)
        assert not list(folder.glob("checkpoint-*"))

    @pytest.mark.slow
    def test_where_the_learning_rate_makes_the_weights_overflow(self, toy, tmp_path, capsys):
        assert toy.train(tmp_path / "run", learning_rate=1e38, warmup_steps=0, predict_with_generate="false") == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("locant train: error: Training diverged at step 2 of 120: the loss is ")

    def test_not_where_the_scaler_of_fp16_skips_the_step(self, monkeypatch):
        trainer = object.__new__(GenerationTrainer)
        trainer.accelerator = type("Accelerator", (), {"scaler": object()})()
        monkeypatch.setattr(RecipeTrainer.__mro__[1], "_get_grad_norm", lambda self: torch.tensor(math.inf))
        assert trainer._get_grad_norm() == math.inf


def test_the_perplexity_of_any_finite_loss_is_a_number():
    assert perplexity(2.0) == math.exp(2.0)
    assert math.isfinite(perplexity(1e6))


def prepared(train, validation):
    splits = {"train": Dataset.from_dict({"labels": train}), "validation": Dataset.from_dict({"labels": validation})}
    of_classes = {f"class {label}": train.count(label) for label in train} if isinstance(train[0], int) else {}
    return PreparedData(DatasetDict(), DatasetDict(splits), None, {"labels": of_classes})


class TestGuess:
    def test_of_tokens_is_by_their_frequency_plus_one(self):
        name, loss = baseline(prepared([[0, 1], [0, 0, 3]], [[0, 2], [3]]), {"loss": 1.0})
        probabilities = np.array([4, 2, 1, 2]) / 9
        assert name == "loss"
        assert loss == pytest.approx(-np.log(probabilities[[0, 2, 3]]).mean())

    def test_of_classes_is_the_most_frequent_and_of_numbers_the_mean(self):
        assert baseline(prepared([1, 1, 0], [0, 1, 2, 2]), {}) == ("accuracy", 0.25)
        assert baseline(prepared([1.0, 3.0], [2.0, 4.0]), {}) == ("mse", 2.0)
        assert baseline(prepared([[0.0, 1.0]], [[1.0, 1.0]]), {}) is None

    def test_of_streamed_classes_is_by_the_labels_of_all_rows(self):
        first_block = prepared([0, 0, 1], [0, 1, 1, 1])
        first_block.summary["labels"] = {"b": 90, "a": 10}
        assert baseline(first_block, {}) == ("accuracy", 0.75)

    def test_of_documents_was_measured_before(self):
        assert baseline(PreparedData(DatasetDict(), DatasetDict(), None, {}), {"unigram_loss": 3.0}) == ("loss", 3.0)

    @pytest.mark.parametrize(
        ("labels", "metrics", "guess"),
        [
            ([[0, 1]], {"loss": 0.6}, None),
            ([[0, 1]], {"loss": 0.7}, "0.6931"),
            ([1, 1, 0], {"accuracy": 0.5}, "0.6667"),
            ([1, 1, 0], {"accuracy": 0.7}, None),
        ],
    )
    def test_is_a_warning_where_the_model_is_no_better(self, labels, metrics, guess):
        warning = compare_with_baseline(prepared(labels, labels), metrics)
        assert (warning is None) is (guess is None)
        if warning is not None:
            (name,) = metrics
            expected = f"Warning: on validation the {name} is {metrics[name]}, no better than the {guess} of a guess"
            assert warning.startswith(expected)

    def test_is_what_a_run_that_learned_nothing_ends_with(self, toy, tmp_path, capsys):
        assert (
            toy.train(
                tmp_path / "run", max_steps=1, max_new_tokens=4, learning_rate=1e-9, predict_with_generate="false"
            )
            == 0
        )
        assert "Warning: on validation the loss is " in capsys.readouterr().out
