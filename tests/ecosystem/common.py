# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Fixtures of several files, and the fixture that records each test's row of the table."""

import pytest
import torch
from heads import HEADS

from locant import train_tokenizer


@pytest.fixture(autouse=True)
def row(request, record_property):
    """Record the test's docstring and the libraries that its file names, for its row of the table.

    The test itself records the numbers that it measures with `record_property`. The table has the largest number of all
    cases.
    """
    torch.manual_seed(0)
    record_property("what", request.function.__doc__)
    record_property("libraries", request.module.LIBRARIES)


@pytest.fixture(params=HEADS)
def head(request):
    return HEADS[request.param]


@pytest.fixture
def saved(tmp_path):
    """A function that saves a model, and its tokenizer if it has one, and returns the folder."""

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
