# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A small trained tokenizer, and models with random weights that are large enough for results to differ by input."""

import copy

import pytest
import torch

import locant

SHAPE = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "image_size": 8,
    "patch_size": 4,
}


@pytest.fixture(scope="session")
def texts():
    return ["the red cat sees the dog", "le chat rouge", "a sad king follows the young bear and the dog", "the fox"]


@pytest.fixture(scope="session")
def trained_tokenizer(texts):
    return locant.train_tokenizer(iter(texts * 3), vocab_size=300, show_progress=False)


@pytest.fixture
def tokenizer(trained_tokenizer):
    return copy.deepcopy(trained_tokenizer)


@pytest.fixture(scope="session")
def processor(trained_tokenizer):
    size = {"height": 8, "width": 8}
    return locant.LocantProcessor(locant.LocantImageProcessor(size=size), copy.deepcopy(trained_tokenizer))


@pytest.fixture(scope="session")
def random_model():
    """A function that makes a model of a class, with the given fields of the config."""

    def make(model_class, **fields):
        torch.manual_seed(0)
        model = model_class(locant.LocantConfig(vocab_size=300, **{**SHAPE, **fields}))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(2)
        return model.eval()

    return make
