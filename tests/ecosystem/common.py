# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What every test says about itself for the table, and what several files start from."""

import pytest
import torch
from heads import HEADS

from locant import train_tokenizer


@pytest.fixture(autouse=True)
def row(request, record_property):
    """The row of a test: its docstring, and the libraries that its file names.

    What it finds out it adds itself, with `record_property`: numbers, of which the table has the largest of all cases.
    """
    torch.manual_seed(0)
    record_property("what", request.function.__doc__)
    record_property("libraries", request.module.LIBRARIES)


@pytest.fixture(params=HEADS)
def head(request):
    return HEADS[request.param]


@pytest.fixture
def saved(tmp_path):
    """The folder of a saved model, and of its tokenizer if it has one."""

    def save(model, tokenizer=None):
        for part in (model, tokenizer):
            if part is not None:
                part.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return save


@pytest.fixture
def texts():
    return [
        "the cat sees the dog",
        "a dog sleeps",
        "rain falls on the house",
        "the old man reads a book in the garden",
    ]


@pytest.fixture
def tokenizer(texts):
    return lambda purpose: train_tokenizer(iter(texts), vocab_size=271, purpose=purpose, show_progress=False)
