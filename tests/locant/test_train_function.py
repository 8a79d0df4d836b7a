# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant.train`, which does what `locant train` does."""

import json

import pytest
import torch
from safetensors.torch import load_file

import locant


@pytest.mark.slow
def test_it_gives_the_bits_and_the_metrics_of_the_command(toy, trained_run, tmp_path):
    found = locant.train(toy.config, output_dir=tmp_path / "run")
    here, there = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", trained_run))
    assert all(torch.equal(here[name], there[name]) for name in there)
    assert found == json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert found["test"]["bleu"] == json.loads((trained_run / "metrics.json").read_text("utf-8"))["test"]["bleu"]
    assert (tmp_path / "run" / "README.md").is_file()


def test_a_dictionary_stands_for_the_file_and_a_second_call_finds_the_run_finished(toy, tmp_path, capsys):
    sections = toy.sections()
    first = locant.train(sections, output_dir=tmp_path / "run", max_steps=2)
    assert first["steps"] == 2
    capsys.readouterr()
    assert locant.train(sections, output_dir=tmp_path / "run", max_steps=2) == first
    assert "is already finished" in capsys.readouterr().out


def test_mistakes_are_value_errors_of_one_sentence(toy):
    with pytest.raises(ValueError, match=r"^lr is not an option: did you mean learning_rate\?$"):
        locant.train(toy.config, lr=1)
