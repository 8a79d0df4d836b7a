# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A small trained tokenizer, and models with random weights that are large enough for results to differ by input."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import locant

from ..hub_server.hub import Hub, User
from ..hub_server.loopback import SERVER

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


@pytest.fixture
def hub(monkeypatch):
    """An empty Hub, where `me` is logged in and `somebody` has a token too; the client has nothing in its cache."""
    assert SERVER.url == constants.ENDPOINT
    for folder in Path(constants.HF_HOME).iterdir():
        shutil.rmtree(folder)
    SERVER.hub = Hub(
        users={"hf_me": User("me", ("lab",)), "hf_somebody": User("somebody"), "hf_reader": User("me", may_write=False)}
    )
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    _connections.clear()
    yield SERVER.hub
    assert _connections <= {"127.0.0.1"}


_connections: set[str] = set()


def _note_connections(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _connections.add(arguments[1][0])
    elif event == "socket.getaddrinfo":
        _connections.add(str(arguments[0]))


sys.addaudithook(_note_connections)
