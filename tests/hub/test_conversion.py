# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Marian, BART and T5 are converted to Locant and back, with equal results; errors name what cannot be converted."""

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartModel,
    MarianConfig,
    MarianModel,
    MarianMTModel,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Model,
)

from .conversion_cases import Case, assert_there_and_back, parametrized, pickled, pickled_shards, sharded

SIZES = {
    "vocab_size": 24,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}


def marian(name, cls=MarianMTModel, save=None, prepare=None, is_exact=True, **fields):
    config = MarianConfig(**{**SIZES, "activation_function": "swish", **fields})
    return seq2seq(f"Marian, {name}", cls, config, save, prepare, is_exact)


def bart(name, cls=BartForConditionalGeneration, save=None, prepare=None, is_exact=True, **fields):
    config = BartConfig(**{**SIZES, **fields})
    return seq2seq(f"BART, {name}", cls, config, save, prepare or one_shared_table, is_exact)


def t5(name, cls=T5ForConditionalGeneration, save=None, is_exact=True, prepare=None, dtype=None, **fields):
    sizes = {"vocab_size": 24, "d_model": 64, "d_kv": 16, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 1}
    sizes |= {"num_heads": 3, "decoder_start_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    config = T5Config(**{**sizes, **fields})

    def prepare_all(model):
        telling_scores(model)
        (prepare or (lambda model: None))(model)

    return seq2seq(f"T5, {name}", cls, config, save, prepare_all, is_exact=is_exact, dtype=dtype)


def seq2seq(name, cls, config, save, prepare=None, is_exact=True, dtype=None):
    options = {"save": save} if save else {}
    if dtype is not None:
        options["build"] = lambda cls, config: cls(config).to(dtype)
    kind = "text" if cls is T5EncoderModel else "seq2seq"
    return Case(name, cls, config, kind, is_exact, prepare or (lambda model: None), **options)


def one_shared_table(model):
    """Without ties, nothing reads BART's shared table, and so its numbers do not come back."""
    body = getattr(model, "model", model)
    if not model.config.tie_word_embeddings:
        body.shared.weight.copy_(body.encoder.embed_tokens.weight)


def telling_scores(model):
    """T5 does not scale its scores."""
    for name, parameter in model.named_parameters():
        if name.endswith("Attention.q.weight"):
            parameter *= model.config.d_kv**-0.5
        elif "relative_attention_bias" in name or name == "shared.weight":
            torch.nn.init.normal_(parameter)


def output_of_its_own(model):
    model.lm_head.weight = torch.nn.Parameter(torch.randn(model.lm_head.weight.shape) * 0.2)


def with_an_unused_table(model, folder):
    """What the first T5 files have, and nothing reads."""
    pickled(model, folder)
    file = folder / "pytorch_model.bin"
    name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    torch.save({**torch.load(file, weights_only=True), name: torch.ones(32, 3)}, file)


CASES = [
    marian("tied"),
    marian("relu, scaled embeddings", activation_function="relu", scale_embedding=True),
    marian("two tables", share_encoder_decoder_embeddings=False),
    marian("no ties", share_encoder_decoder_embeddings=False, tie_word_embeddings=False),
    marian("no ties, an unused table", tie_word_embeddings=False, is_exact=None),
    marian("no head, no ties, an unused table", cls=MarianModel, tie_word_embeddings=False, is_exact=None),
    marian("an output of its own", prepare=output_of_its_own, is_exact=None),
    marian("bin with fixed positions", save=pickled),
    marian("shards", save=sharded, decoder_layers=3),
    marian("no head", cls=MarianModel),
    bart("tied"),
    bart("scaled embeddings, relu", scale_embedding=True, activation_function="relu"),
    bart("no ties", tie_word_embeddings=False),
    bart("no ties, an unused table", tie_word_embeddings=False, prepare=lambda model: None, is_exact=None),
    bart("an output of its own", prepare=output_of_its_own),
    bart("bin shards", save=pickled_shards),
    bart("no head", cls=BartModel),
    t5("1.0"),
    t5("1.0, sizes that are no powers", d_model=40, d_kv=6, is_exact=False),
    t5("1.0, bin with an unused table", save=with_an_unused_table),
    t5("1.0, few buckets", relative_attention_num_buckets=8, relative_attention_max_distance=6),
    t5("1.1", tie_word_embeddings=False, feed_forward_proj="gated-gelu", prepare=output_of_its_own),
    t5(
        "1.1, shards",
        tie_word_embeddings=False,
        feed_forward_proj="gated-silu",
        prepare=output_of_its_own,
        save=sharded,
    ),
    t5("1.0 with an output of its own", prepare=output_of_its_own, is_exact=None),
    t5("half precision", dtype=torch.bfloat16),
    t5("no head", cls=T5Model),
    t5("encoder", cls=T5EncoderModel, feed_forward_proj="gated-relu"),
]


@parametrized(CASES)
def test_there_and_back(case, tmp_path):
    assert_there_and_back(case, tmp_path)
