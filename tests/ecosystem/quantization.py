# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""8-bit weights on the CPU, by `from_pretrained(quantization_config=…)`."""

import pytest
from heads import outputs
from torchao.quantization import Int8WeightOnlyConfig
from transformers import QuantoConfig, TorchAoConfig

LIBRARIES = ()  # each test records its own library
WIDE = {"d_model": 128, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512}


def size(tensor):
    """The bytes of a tensor; for a quantised tensor, of the tensors that it consists of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    return sum(size(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])


def size_of(model):
    return sum(size(parameter) for parameter in model.parameters())


@pytest.fixture
def quantized(head, saved):
    def load(config):
        model = head.model(**WIDE)
        return model, head.model_class.from_pretrained(saved(model), quantization_config=config).eval()

    return load


def check(head, model, other, record_property):
    layers = [module for name, module in other.named_modules() if name.endswith("_proj")]
    assert layers and all(size(layer.weight) < 0.3 * layer.weight.numel() * 4 for layer in layers)
    record_property("bytes of the weights / those of float32", size_of(other) / size_of(model))
    expected, found = outputs(model, head.batch()), outputs(other, head.batch())
    error = ((found - expected).square().mean().sqrt() / expected.std()).item()
    record_property("error of the logits / their spread", error)
    assert 0 < error < 0.1
    if model._tied_weights_keys:
        assert other.get_output_embeddings().weight is other.get_input_embeddings().weight
    if model.can_generate():
        inputs = {name: value for name, value in head.batch().items() if name != "decoder_input_ids"}
        options = {**inputs, "max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
        assert (other.generate(**options) == model.generate(**options)).float().mean() > 0.8


def test_torchao(head, quantized, record_property):
    """`TorchAoConfig(Int8WeightOnlyConfig())`: close logits, generates, tied embeddings stay tied"""
    record_property("libraries", ("torchao",))
    check(head, *quantized(TorchAoConfig(Int8WeightOnlyConfig())), record_property)


def test_quanto(head, quantized, record_property):
    """`QuantoConfig(weights="int8")`: close logits, generates, tied embeddings stay tied"""
    record_property("libraries", ("optimum-quanto",))
    check(head, *quantized(QuantoConfig(weights="int8")), record_property)
