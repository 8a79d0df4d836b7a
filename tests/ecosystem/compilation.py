# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""torch.compile, torch.export and gradient checkpointing change no number."""

import pytest
import torch
from heads import difference, outputs
from torch.export import Dim

LIBRARIES = ("torch",)


@pytest.fixture(autouse=True)
def forget_compiled():
    yield
    torch._dynamo.reset()


def test_compile(head, record_property):
    """torch.compile(fullgraph=True), forward pass"""
    model, batch = head.model(encoder_layers=1, decoder_layers=1), head.batch()
    compiled = torch.compile(model, fullgraph=True)
    found = difference(outputs(compiled, batch), outputs(model, batch))
    record_property("compiled − eager", found)
    assert found < 1e-5


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_export(head, backend, record_property):
    """torch.export with eager and sdpa, any number of sequences of any length, or of images"""
    model = head.model()
    model.set_attn_implementation(backend)
    batch = head.batch()
    size, length = Dim("size", min=2, max=64), Dim("length", min=2, max=64)
    shapes = {name: {0: size} if name == "pixel_values" else {0: size, 1: length} for name in batch}
    model.config.use_cache = False  # a cache is no tensor
    exported = torch.export.export(model, (), batch, dynamic_shapes=shapes).module()
    found = 0.0
    for other in (batch, head.batch(2, 5), head.batch(7, 31)):
        found = max(found, difference(outputs(exported, other), outputs(model, other)))
    record_property("exported − eager", found)
    assert found < 1e-5


def test_gradient_checkpointing(head, record_property):
    """Gradient checkpointing, all gradients"""
    model, batch = head.model().train(), head.batch(targets=True)

    def gradients():
        model.zero_grad()
        model(**batch).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    expected, calls = gradients(), []
    model.gradient_checkpointing_enable()
    stack = model.get_submodule("model.decoder" if hasattr(model.model, "decoder") else "model.encoder")
    stack.layers[0].ffn.register_forward_hook(lambda *_: calls.append(1))
    others = gradients()
    assert len(calls) == 2  # once in the forward pass, once in the backward pass
    found = max(difference(others[name], gradient) for name, gradient in expected.items())
    record_property("with − without", found)
    assert found < 1e-6
