# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The number of parameters that follows from a config is that of the model built from it."""

import itertools

import pytest
import torch
from transformers import AutoModel

from locant import (
    LocantConfig,
    LocantForCausalLM,
    LocantForConditionalGeneration,
    LocantForImageClassification,
    LocantForMaskedLM,
    LocantForSequenceClassification,
)
from locant.configuration.parameter_count import largest_parameter_count, parameter_count

SHAPE = {
    "vocab_size": 23,
    "d_model": 24,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 52,
    "max_position_embeddings": 17,
    "image_size": [32, 16],
    "patch_size": [8, 4],
}
TOPOLOGIES = {
    "translator": {},
    "encoder": {"is_encoder_decoder": False},
    "decoder": {"is_decoder": True},
    "image encoder": {"is_encoder_decoder": False, "encoder_input": "patches"},
    "captioner": {"encoder_input": "patches"},
}
ENCODINGS = ["none", "sinusoidal", "learned", "shaw", "transformer_xl", "t5", "alibi", "rotary"]
OPTIONS = {
    "the paper's": {},
    "no biases, RMSNorm": {"attention_bias": False, "ffn_bias": False, "norm_type": "rmsnorm"},
    "pre-norm, gated": {"norm_position": "pre", "gated_ffn": True, "embedding_norm": True},
    "grouped heads": {"encoder_key_value_heads": 2, "decoder_key_value_heads": 1, "head_dim": 8},
    "types, pooler": {"type_vocab_size": 3, "pooling": "first", "pooler_projection": True},
    "two tables": {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
    "options of encodings": {
        "position_parameters": {
            "learned": {"offset": 2},
            "shaw": {"max_distance": 5, "values": False},
            "t5": {"num_buckets": 12, "max_distance": 20},
        }
    },
}


def parameters(model_class, config):
    with torch.device("meta"):
        model = model_class.from_config(config) if model_class is AutoModel else model_class(config)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_it_is_the_number_that_the_model_has(topology, encoding, options):
    crossed = encoding if encoding not in ("sinusoidal", "learned") else "none"
    for cross in {"none", crossed}:
        fields = {"position_encoding": encoding, "cross_position_encoding": cross, **options}
        config = LocantConfig(**{**SHAPE, **TOPOLOGIES[topology], **fields})
        assert parameter_count(config) == parameters(AutoModel, config)


@pytest.mark.parametrize(("encoder", "decoder"), itertools.product(["shaw", "t5"], ["learned", "transformer_xl"]))
def test_two_encodings_count_each_for_its_stack(encoder, decoder):
    config = LocantConfig(**SHAPE, position_encoding=encoder, decoder_position_encoding=decoder)
    assert parameter_count(config) == parameters(AutoModel, config)


@pytest.mark.parametrize(
    "model_class",
    [
        LocantForConditionalGeneration,
        LocantForCausalLM,
        LocantForMaskedLM,
        LocantForSequenceClassification,
        LocantForImageClassification,
    ],
)
@pytest.mark.parametrize("num_labels", [1, 5])
def test_no_head_has_more_than_the_largest_count(model_class, num_labels):
    config = LocantConfig(**SHAPE, tie_word_embeddings=False, lm_head_bias=True, num_labels=num_labels)
    with torch.device("meta"):
        model = model_class(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert parameter_count(model.config) < count <= largest_parameter_count(model.config)
