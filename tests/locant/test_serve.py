# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What `locant serve` refuses before it listens; tests/serving/ has the server."""

import sys

import pytest
from transformers import BertConfig, ViTConfig

from locant import LocantConfig
from locant.cli import main

SHAPE = {"vocab_size": 24, "d_model": 16}


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (LocantConfig(is_decoder=True, architectures=["LocantForCausalLM"], **SHAPE), "text-generation"),
        (LocantConfig(is_encoder_decoder=False, architectures=["LocantForMaskedLM"], **SHAPE), "fill-mask"),
        (
            LocantConfig(encoder_input="patches", architectures=["LocantForConditionalGeneration"], **SHAPE),
            "image-text-to-text",
        ),
        (BertConfig(architectures=["BertForMaskedLM"]), "another task (BertForMaskedLM)"),
        (ViTConfig(architectures=["ViTForImageClassification"]), "another task (ViTForImageClassification)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_models_of_other_tasks_are_refused_in_a_sentence(config, task, tmp_path, capsys):
    config.save_pretrained(tmp_path)
    assert main(["serve", str(tmp_path), "--port", "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"locant serve: error: {tmp_path} is for {task}, but locant serve serves translators and text classifiers: use "
        "locant predict."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./nowhere", "--port", "0"], "There is no folder ./nowhere"),
        (["x", "--host", "no.such.host.invalid"], "Port 8000 of no.such.host.invalid cannot be used ("),
        (["x", "--max_texts", "9", "--max_waiting", "8"], "A request may have 9 texts, but the queue has room for 8"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_sentence(arguments, message, capsys):
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("locant serve: error: ") and message in error


def test_without_the_packages_of_the_server_the_message_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in ("app", "http_server"):
        monkeypatch.delitem(sys.modules, f"locant.serving.{name}", raising=False)
    assert main(["serve", "x"]) == 2
    assert "pip install 'locant[serve]'" in capsys.readouterr().err
