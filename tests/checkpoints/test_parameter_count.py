# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The number of parameters that follows from a config is that of the model built from it."""

import itertools
import math
import time

import pytest
import torch
from transformers import AutoModel

from locant import LocantConfig
from locant.checkpoints.model_sizes import parameter_count

from ..memory import megabytes_taken

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


@pytest.mark.sampled(5)
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


def test_layers_of_two_types_count_alike():
    types = ["full_attention", "sliding_attention", "sliding_attention"]
    config = LocantConfig(**SHAPE, encoder_layer_types=types, sliding_window=4)
    assert parameter_count(config) == parameters(AutoModel, config)
    assert config.encoder_layer_types == types


def test_it_draws_no_random_numbers_and_leaves_the_config_alone():
    config = LocantConfig(**SHAPE)
    before, fields = torch.get_rng_state(), config.to_dict()
    parameter_count(config)
    assert torch.equal(torch.get_rng_state(), before)
    assert config.to_dict() == fields


def test_absurd_sizes_cost_no_memory_and_no_time():
    widest = {"d_model": 2**22, "head_dim": 2**22, "encoder_ffn_dim": 2**22, "decoder_ffn_dim": 2**22}
    deepest = {"encoder_layers": 2048, "decoder_layers": 2048, "vocab_size": 2**32}
    heads = {"encoder_attention_heads": 2**14, "decoder_attention_heads": 2**14, "max_position_embeddings": 2**32}
    config, counts = LocantConfig(**widest, **deepest, **heads), []
    start = time.process_time()
    # what torch needs for itself, and a row of sinusoids of that width in float64
    assert megabytes_taken(lambda: counts.append(parameter_count(config))) < 400
    assert counts[0] > 1e18
    assert time.process_time() - start < 5


def test_what_torch_cannot_count_is_without_end():
    patches = {"encoder_input": "patches", "image_size": 2**20, "patch_size": 2**20, "num_channels": 2**22}
    assert parameter_count(LocantConfig(**patches, d_model=2**22, encoder_attention_heads=1)) == math.inf
