# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Expresses each position encoding in the terms of CTranslate2.

CTranslate2's encoder–decoders support four kinds of encodings: a table that is added to the embeddings, T5's biases by
distance, the vectors of Shaw et al. 2018, and rotary angles. Two of the four also express encodings that they were not
made for:

- T5's biases get a bucket for each of at least `REACH` distances to either side. They can then express every encoding
  whose bias depends on head and distance alone: t5, alibi, and encodings of this kind from outside of Locant. Larger
  distances share buckets, so their biases may be inexact. For `none`, the biases are zeros, because CTranslate2 uses
  sinusoids if a model has no position encoding.
- Rotary angles get scaling factors: the default frequencies divided by the frequencies of the rope type. They can then
  express every rope type whose frequencies are fixed.
"""

from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
import torch

from locant.modeling.positions.base import DistanceBias, PositionEncoding, SlotIndex
from locant.modeling.positions.learned import LearnedEncoding
from locant.modeling.positions.rotary import RotaryEncoding
from locant.modeling.positions.shaw import ShawEncoding
from locant.modeling.positions.sinusoidal import SinusoidalEncoding, sinusoidal_table

from ..errors import SharingError
from .requirements import needs

# The least number of positions in a table of sinusoids, and the least number of distances to either side of a query
# that have a bucket of their own
REACH = 2048

_ABLE = "none, sinusoidal, learned, shaw, t5, alibi or rotary"


class Expression(NamedTuple):
    """The form that an encoding has in CTranslate2.

    Args:
        options: arguments of `TransformerEncoderSpec` and `TransformerDecoderSpec`.
        limit: the largest number of positions; None if it is unlimited.
    """

    options: dict[str, Any]
    limit: int | None = None


@singledispatch
def express(encoding: PositionEncoding) -> Expression:
    """Return the form of `encoding` in CTranslate2: arguments of the spec, and the largest number of positions.

    The weights of `encoding` are not read, and may be on the meta device.

    Raises:
        SharingError: CTranslate2 does not support the encoding.
    """
    if _is_none(encoding) or _distance_bias(encoding) is not None:
        return Expression({"relative_attention_bias": True})
    name = encoding.config.position_encoding_at(encoding.kind)
    field = "decoder_position_encoding" if encoding.kind == "decoder" else "position_encoding"
    raise SharingError(
        f"{field}={name!r} is not supported by CTranslate2: train a model with one of the encodings {_ABLE}, or "
        "translate with this model in PyTorch."
    )


@express.register
def _(encoding: SinusoidalEncoding) -> Expression:
    return Expression({}, limit=max(REACH, encoding.rows))


@express.register
def _(encoding: LearnedEncoding) -> Expression:
    return Expression({}, limit=encoding.limit)


@express.register
def _(encoding: ShawEncoding) -> Expression:
    return Expression({"relative_position": True})


@express.register
def _(encoding: RotaryEncoding) -> Expression:
    if encoding.rope_type in ("dynamic", "longrope"):
        raise SharingError(
            f"rope_parameters: CTranslate2 does not support rope_type={encoding.rope_type!r}, whose angles change with "
            "the length: use a rope type with fixed angles, such as default, linear, llama3 or yarn."
        )
    options: dict[str, Any] = {
        "rotary_dim": 2 * len(encoding.inv_freq),
        "rotary_base": encoding.rope_parameters["rope_theta"],
        "rotary_interleave": encoding.config.position_options("rotary")["pairing"] == "interleaved",
    }
    if encoding.rope_type != "default":
        options["rotary_scaling_type"] = needs("ctranslate2.specs.attention_spec").RotaryScalingType.Su
    return Expression(options)


@singledispatch
def write(encoding: PositionEncoding, spec: Any, stack: Any) -> None:
    """Write the tensors of `encoding` to `spec`, which already has the attention weights.

    Args:
        encoding: the position encoding of `stack`.
        spec: the `TransformerEncoderSpec` or `TransformerDecoderSpec` of `stack`.
        stack: the encoder or the decoder.
    """
    biases = torch.zeros(4, encoding.config.heads_at(encoding.kind)) if _is_none(encoding) else _biases(encoding)
    buckets_to_a_side = len(biases) // (1 if encoding.kind == "decoder" else 2)
    for layer in spec.layer:
        layer.self_attention.relative_attention_bias = biases
        # of the n buckets for distances to one side, the first n / 2 stand for one distance each, and the others for
        # ranges of distances up to 2 n (see `_biases`)
        layer.self_attention.relative_attention_max_distance = np.int32(2 * buckets_to_a_side)


@write.register
def _(encoding: SinusoidalEncoding, spec: Any, stack: Any) -> None:
    width = encoding.config.d_model
    spec.position_encodings.encodings = sinusoidal_table(max(REACH, encoding.rows), width, encoding.layout)


@write.register
def _(encoding: LearnedEncoding, spec: Any, stack: Any) -> None:
    spec.position_encodings.encodings = encoding.embeddings.weight[encoding.offset :]


@write.register
def _(encoding: ShawEncoding, spec: Any, stack: Any) -> None:
    absent = needs("ctranslate2.specs.model_spec").OPTIONAL
    for layer_spec, layer in zip(spec.layer, stack.layers, strict=True):
        position = layer.self_attn.position
        layer_spec.self_attention.relative_position_keys = position.keys
        layer_spec.self_attention.relative_position_values = absent if position.vectors is None else position.vectors


@write.register
def _(encoding: RotaryEncoding, spec: Any, stack: Any) -> None:
    if encoding.rope_type == "default":
        return
    turned = 2 * len(encoding.inv_freq)
    for layer_spec, layer in zip(spec.layer, stack.layers, strict=True):
        attention = layer_spec.self_attention
        attention.rotary_scaling_long_factor = attention.rotary_scaling_short_factor = _factors(encoding)
        # the model multiplies queries and keys by `attention_scaling`; multiplying only the queries by its square gives
        # the same scores
        if encoding.attention_scaling != 1.0:
            _scale_queries(attention.linear[0], layer.self_attn, turned, encoding.attention_scaling**2)


def keep_exact(encoding: PositionEncoding, spec: Any) -> None:
    """Write the scaling factors of rotary frequencies again in float32, because quantisation to 16 bits rounds them."""
    if isinstance(encoding, RotaryEncoding) and encoding.rope_type != "default":
        factors = needs("ctranslate2.specs.model_spec").PyTorchVariable(_factors(encoding))
        for layer in spec.layer:
            layer.self_attention.rotary_scaling_long_factor = factors
            layer.self_attention.rotary_scaling_short_factor = factors


def _factors(encoding: RotaryEncoding) -> torch.Tensor:
    """Compute the scaling factors of rotary frequencies: the default frequencies divided by those of `encoding`."""
    turned = 2 * len(encoding.inv_freq)
    plain = encoding.rope_parameters["rope_theta"] ** (-torch.arange(0, turned, 2, dtype=torch.float64) / turned)
    return (plain / encoding.inv_freq.double()).float()


def _scale_queries(fused: Any, attention: Any, turned: int, factor: float) -> None:
    """Multiply the rotated part of each head's queries by `factor`.

    Args:
        fused: the spec of the fused projection of queries, keys and values. Its weights are copies, so the weights of
            the model do not change.
        attention: the attention module of the model.
        turned: the size of the rotated part of a head.
        factor: the factor.
    """
    rows = attention.q_proj.out_features
    for values in (fused.weight, fused.bias) if fused.has_bias() else (fused.weight,):
        values[:rows].unflatten(0, (-1, attention.head_dim))[:, :turned] *= factor


def _is_none(encoding: PositionEncoding) -> bool:
    """Return whether the encoding is `none`."""
    return type(encoding) is PositionEncoding


def _distance_bias(encoding: PositionEncoding) -> DistanceBias | None:
    """Return the encoding's bias if the bias depends on head and distance alone and changes only scores, or None."""
    no_tokens = torch.zeros(1, 1, encoding.config.d_model), torch.zeros(1, 1, dtype=torch.long)
    bias = encoding.shared_bias(encoding(*no_tokens, 1)[1], SlotIndex(1, 1))
    return bias if isinstance(bias, DistanceBias) and not bias.has_output else None


def _biases(encoding: PositionEncoding) -> torch.Tensor:
    """Compute the biases that the encoding adds to the scores, `(buckets, heads)`, in the order of T5's buckets.

    Keys before the query have one group of buckets. In an encoder, keys after the query have a second group. In the
    first half of a group, each bucket stands for one distance. In the second half, each bucket stands for a range of
    distances, and has the bias of the distance at the geometric middle of the range. These ranges are spaced
    logarithmically, and end at four times the number of distances in the first half.
    """
    near = max(REACH, encoding.config.max_position_embeddings)
    far = near * 4.0 ** ((torch.arange(near) + 0.5) / near)
    steps = torch.cat([torch.arange(near), far.round().long()])
    distances = -steps if encoding.kind == "decoder" else torch.cat([-steps, steps])
    bias = _distance_bias(encoding)
    assert bias is not None  # express refuses other encodings
    return bias.of_distance(torch.arange(encoding.config.heads_at(encoding.kind))[None], distances[:, None]).float()
