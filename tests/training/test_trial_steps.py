# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a run chooses by timing training steps, on the toy language of `tests/conftest.py`."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from locant.training.run import trial_steps
from locant.training.run.trainer import RecipeTrainer

pytestmark = pytest.mark.end_to_end

SHORT = {"max_steps": 4, "predict_with_generate": "false", "num_beams": 1, "max_new_tokens": 4}
AUTO = {"bf16": "auto", "attn_implementation": "auto"}
CHOICES = ["float32 with sdpa", "float32 with eager", "bf16 with sdpa", "bf16 with eager"]


def weights(folder):
    return load_file(folder / "model.safetensors")


def hyperparameters(folder):
    found = json.loads((folder / "metrics.json").read_text("utf-8"))["hyperparameters"]
    return found["bf16"], found["attn_implementation"]


@pytest.fixture
def make_fastest(monkeypatch):
    """Have one choice seem faster than all others; the list that is returned gets the choices that were timed."""
    timed, original = [], trial_steps.seconds_of_round

    def install(bf16, attn_implementation):
        def seconds_of_round(model, batches, is_bf16):
            assert original(model, batches, is_bf16) > 0
            timed.append((is_bf16, model.config._attn_implementation))
            return 1.0 if timed[-1] == (bf16, attn_implementation) else 2.0

        monkeypatch.setattr(trial_steps, "seconds_of_round", seconds_of_round)
        monkeypatch.setattr(trial_steps, "multiplies_bf16", lambda device: True)
        return timed

    return install


@pytest.mark.sampled(2)
@pytest.mark.parametrize("fastest", [(False, "eager"), (True, "sdpa")])
def test_the_fastest_choice_trains_as_if_it_had_been_given(toy, tmp_path, make_fastest, capsys, fastest):
    make_fastest(*fastest)
    assert toy.train(tmp_path / "auto", **SHORT, **AUTO) == 0
    printed = capsys.readouterr().out
    assert all(choice in printed for choice in CHOICES)
    name = f"{'bf16' if fastest[0] else 'float32'} with {fastest[1]}"
    assert f"chosen: {name}" in printed
    assert hyperparameters(tmp_path / "auto") == fastest
    given = {"bf16": str(fastest[0]).lower(), "attn_implementation": fastest[1]}
    assert toy.train(tmp_path / "given", **SHORT, **given) == 0
    auto, given = weights(tmp_path / "auto"), weights(tmp_path / "given")
    assert all(torch.equal(auto[name], given[name]) for name in auto)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bf16": "auto", "attn_implementation": "eager"}, {(False, "eager"), (True, "eager")}),
        ({"bf16": "true", "attn_implementation": "auto"}, {(True, "sdpa"), (True, "eager")}),
    ],
)
def test_options_that_are_given_are_not_varied(toy, tmp_path, make_fastest, options, expected):
    timed = make_fastest(*max(expected))
    assert toy.train(tmp_path / "run", **SHORT, **options) == 0
    assert set(timed) == expected
    assert hyperparameters(tmp_path / "run") == max(expected)


def test_a_run_that_is_taken_up_again_keeps_its_choice(toy, tmp_path, make_fastest, capsys):
    make_fastest(True, "eager")
    assert toy.train(tmp_path / "run", **SHORT, **AUTO) == 0
    timed = make_fastest(False, "sdpa")
    timed.clear()
    capsys.readouterr()
    assert toy.train(tmp_path / "run", **{**SHORT, "max_steps": 6}, **AUTO) == 0
    assert not timed
    assert "a training step takes" not in capsys.readouterr().out
    assert hyperparameters(tmp_path / "run") == (True, "eager")


def test_trainer_computes_in_the_chosen_precision(toy, tmp_path, make_fastest, monkeypatch):
    precisions, original = set(), RecipeTrainer.compute_loss

    def compute_loss(self, model, inputs, *args, **kwargs):
        precisions.add((self.accelerator.mixed_precision, self.model.config._attn_implementation))
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(RecipeTrainer, "compute_loss", compute_loss)
    make_fastest(True, "eager")
    assert toy.train(tmp_path / "run", **SHORT, **AUTO) == 0
    assert precisions == {("bf16", "eager")}


def test_fp16_does_not_go_with_bf16_auto(toy, tmp_path, capsys):
    assert toy.train(tmp_path / "run", **SHORT, bf16="auto", fp16="true") != 0
    assert "fp16 is true and bf16 is auto" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_bf16_takes_true_false_and_auto_only(toy, tmp_path, capsys):
    assert toy.train(tmp_path / "run", **SHORT, bf16="maybe") != 0
    assert "bf16 is 'maybe' (command line), but must be true or false or auto" in capsys.readouterr().err


@pytest.mark.slow
def test_gain_of_compilation_is_printed(toy, tmp_path, capsys):
    options = {"torch_compile": "true", "torch_compile_backend": "eager"}
    assert toy.train(tmp_path / "run", **{**SHORT, "max_steps": 1}, **options) == 0
    assert "torch.compile: a training step takes" in capsys.readouterr().out


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_a_backend_without_a_backward_pass_here_is_refused_before_training(toy, tmp_path, capsys, dry_run):
    options = {**SHORT, "dropout": 0, "attn_implementation": "flex_attention", "dry_run": dry_run}
    assert toy.train(tmp_path / "run", **options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: attn_implementation flex_attention cannot compute a training step on cpu (" in error
    assert error.endswith("): choose sdpa or eager, or leave attn_implementation out.")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_an_optimiser_without_its_package_is_refused_before_training(toy, tmp_path, capsys, monkeypatch, dry_run):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert toy.train(tmp_path / "run", **SHORT, optim="adamw_bnb_8bit", dry_run=dry_run) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("locant train: error: optim is adamw_bnb_8bit, but this optimiser cannot be used: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_backend_that_cannot_add_the_bias_is_no_candidate(toy, tmp_path, make_fastest):
    timed = make_fastest(False, "blockwise")
    options = {"position_encoding": "shaw", "attn_implementation": "auto"}
    assert toy.train(tmp_path / "run", **SHORT, **options) == 0
    assert set(timed) == {(False, "eager"), (False, "blockwise")}
    assert hyperparameters(tmp_path / "run") == (False, "blockwise")


@pytest.mark.slow
def test_bf16_is_no_candidate_on_a_device_that_cannot_multiply_it(toy, tmp_path, make_fastest, monkeypatch):
    timed = make_fastest(False, "eager")
    monkeypatch.setattr(trial_steps, "multiplies_bf16", lambda device: False)
    assert toy.train(tmp_path / "run", **SHORT, **AUTO) == 0
    assert set(timed) == {(False, "sdpa"), (False, "eager")}


def test_a_candidate_that_is_far_slower_is_timed_once(toy, tmp_path, monkeypatch):
    timed = []

    def seconds_of_round(model, batches, bf16):
        timed.append(model.config._attn_implementation)
        return 10.0 if timed[-1] == "sdpa" else 1.0

    monkeypatch.setattr(trial_steps, "seconds_of_round", seconds_of_round)
    assert toy.train(tmp_path / "run", **SHORT, attn_implementation="auto") == 0
    assert timed.count("sdpa") == 1
    assert hyperparameters(tmp_path / "run") == (False, "eager")
