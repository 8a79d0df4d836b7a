# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""How many parameters a model has, from its config alone: nothing is built."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .configuration_locant import LocantConfig

from .position_encodings import Place


def parameter_count(config: "LocantConfig") -> int:
    """The parameters of the model without a head that `config` describes; tables that are shared count once.

    Exact for the encodings that come with Locant; parameters of one registered from outside are not counted.
    """
    count = 0
    if "encoder" in config.places:
        count += _stack(config, "encoder") + _encoder_embeddings(config)
    if "decoder" in config.places:
        count += _stack(config, "decoder")
        shares = config.share_encoder_decoder_embeddings and config.encoder_input == "tokens"
        count += 0 if config.is_encoder_decoder and shares else config.vocab_size * config.d_model
    if config.places == ("encoder",) and config.pooler_projection:
        count += _linear(config.d_model, config.d_model)
    return count


def largest_parameter_count(config: "LocantConfig") -> int:
    """`parameter_count` with any head that could stand on the model; no model of `config` has more."""
    width, labels = config.d_model, max(config.num_labels or 0, 2)
    heads = _linear(width, config.vocab_size) + _linear(width, labels) + _linear(width, width) + _norm(config)
    return parameter_count(config) + heads


def _linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + outputs * bias


def _norm(config: "LocantConfig") -> int:
    return config.d_model * (2 if config.norm_type == "layernorm" else 1)


def _encoder_embeddings(config: "LocantConfig") -> int:
    if config.encoder_input == "patches":
        inputs = config.num_channels * math.prod(config.patch_shape)
        return _linear(inputs, config.d_model) + config.has_class_token * config.d_model
    return (config.vocab_size + config.type_vocab_size) * config.d_model


def _stack(config: "LocantConfig", stack: Literal["encoder", "decoder"]) -> int:
    """All but the embeddings of tokens or patches."""
    inner, bias = getattr(config, f"{stack}_ffn_dim"), config.ffn_bias
    ffn = _linear(config.d_model, inner, bias) * (2 if config.gated_ffn else 1) + _linear(inner, config.d_model, bias)
    layer = _attention(config, stack, stack) + ffn + 2 * _norm(config)
    shared = _position(config, stack, _SHARED) + config.embedding_norm * _norm(config)
    if config.norm_position == "pre":
        shared += _norm(config)
    if stack == "decoder" and config.is_encoder_decoder:
        layer += _attention(config, stack, "cross") + _norm(config)
        shared += _position(config, "cross", _SHARED)
    return shared + getattr(config, f"{stack}_layers") * layer


def _attention(config: "LocantConfig", stack: Literal["encoder", "decoder"], place: Place) -> int:
    heads, head_dim, bias = config.heads_at(place), config.head_dim_at(place), config.attention_bias
    groups = getattr(config, f"{stack}_key_value_heads") or heads
    projections = _linear(config.d_model, heads * head_dim, bias) + 2 * _linear(config.d_model, groups * head_dim, bias)
    return projections + _linear(heads * head_dim, config.d_model, bias) + _position(config, place, _OF_LAYER)


def _position(config: "LocantConfig", place: Place, counts: "dict[str, _Count]") -> int:
    count = counts.get(config.position_encoding_at(place))
    return count(config, place) if count is not None else 0


def _learned(config: "LocantConfig", place: Place) -> int:
    if config.axes_at(place) == 2:
        return (math.prod(config.patch_grid) + config.has_class_token) * config.d_model
    return (config.max_position_embeddings + config.position_options("learned")["offset"]) * config.d_model


def _t5(config: "LocantConfig", place: Place) -> int:
    return config.position_options("t5")["num_buckets"] * config.heads_at(place)


def _shaw(config: "LocantConfig", place: Place) -> int:
    options = config.position_options("shaw")
    return (2 * options["max_distance"] + 1) * config.head_dim_at(place) * (2 if options["values"] else 1)


def _transformer_xl(config: "LocantConfig", place: Place) -> int:
    return (config.d_model + 2) * config.heads_at(place) * config.head_dim_at(place)


_Count = Callable[["LocantConfig", Place], int]
# What the layers of a stack share, and what each layer owns
_SHARED: dict[str, _Count] = {"learned": _learned, "t5": _t5}
_OF_LAYER: dict[str, _Count] = {"shaw": _shaw, "transformer_xl": _transformer_xl}
