# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The names of the position encodings in Locant and in other libraries, their options, and their checks."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

# The kinds of attention that can have a position encoding: self-attention of either stack, and cross-attention
AttentionKind = Literal["encoder", "decoder", "cross"]
ATTENTION_KINDS: tuple[AttentionKind, ...] = get_args(AttentionKind)

# Rope types whose frequencies depend on the largest position, which differs between queries and keys of
# cross-attention
_ROPE_TYPES_BY_LENGTH = ("dynamic", "longrope")


_MOST = 2**32  # the largest value of an option that is a whole number


@dataclass(frozen=True)
class EncodingOptions:
    """Tells `LocantConfig` which options a position encoding has, how they are checked, and where it can be used.

    Args:
        defaults: the default value of each option.
        check: a function that is called with the options and the size of a head, and raises `ValueError` if a value is
            invalid, or not possible with this size of a head.
        in_cross_attention: whether cross-attention can have this encoding. An encoding that is added to the embeddings
            cannot be used in cross-attention, which has no embeddings.
    """

    defaults: dict[str, Any] = field(default_factory=dict)
    check: Callable[[dict[str, Any], int], None] | None = None
    in_cross_attention: bool = True


def _one_of(option: str, *known: str) -> Callable[[dict[str, Any], int], None]:
    def check(options: dict[str, Any], head_dim: int) -> None:
        if options[option] not in known:
            raise ValueError(f"{option} must be one of {', '.join(known)}, got {options[option]!r}.")

    return check


def _check_learned(options: dict[str, Any], head_dim: int) -> None:
    _whole(options, "offset", at_least=0)


def _check_shaw(options: dict[str, Any], head_dim: int) -> None:
    _whole(options, "max_distance", at_least=1)
    if not isinstance(options["values"], bool):
        raise ValueError(f"values must be true or false, got {options['values']!r}.")


def _check_t5(options: dict[str, Any], head_dim: int) -> None:
    _whole(options, "num_buckets", at_least=4)
    _whole(options, "max_distance", at_least=2)
    if options["num_buckets"] % 4:
        raise ValueError(f"num_buckets must be a multiple of 4, got {options['num_buckets']}.")
    if options["max_distance"] <= options["num_buckets"] // 2:
        raise ValueError(
            f"max_distance must be above half of num_buckets={options['num_buckets']}, got {options['max_distance']}: "
            "half of the buckets hold one distance each, and the others hold longer distances up to max_distance."
        )


def _check_alibi(options: dict[str, Any], head_dim: int) -> None:
    if not _is_positive(options["max_bias"]):
        raise ValueError(f"max_bias must be a number above 0 and below 2**127, got {repr(options['max_bias'])[:80]}.")


def _is_positive(value: Any) -> bool:
    """Whether `value` is a number above 0 and below 2**127, which float32 can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2.0**127


def _whole(options: dict[str, Any], name: str, at_least: int) -> None:
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, got {repr(value)[:80]}.")
    if value > _MOST:
        raise ValueError(f"{name} must be at most {_MOST}.")


# Name of an encoding -> its options. `locant.modeling.positions` has the classes of the encodings, and its function
# `register_position_encoding` adds entries.
POSITION_ENCODINGS: dict[str, EncodingOptions] = {
    "none": EncodingOptions(),
    "sinusoidal": EncodingOptions(
        {"layout": "interleaved"}, _one_of("layout", "interleaved", "concatenated"), in_cross_attention=False
    ),
    "learned": EncodingOptions({"offset": 0}, _check_learned, in_cross_attention=False),
    "shaw": EncodingOptions({"max_distance": 16, "values": True}, _check_shaw),
    "transformer_xl": EncodingOptions(),
    "t5": EncodingOptions({"num_buckets": 32, "max_distance": 128}, _check_t5),
    "alibi": EncodingOptions({"max_bias": 8.0}, _check_alibi),
    "rotary": EncodingOptions({"pairing": "halves"}, _one_of("pairing", "halves", "interleaved")),
}

_NAMES_ELSEWHERE = {
    "rope": "rotary",
    "roformer": "rotary",
    "absolute": "learned",
    "learnable": "learned",
    "trained": "learned",
    "sine": "sinusoidal",
    "sin": "sinusoidal",
    "fixed": "sinusoidal",
    "nope": "none",
    "relative_key": "shaw",
    "relative_key_query": "shaw",
    "relative": "t5",
    "xl": "transformer_xl",
    "xlnet": "transformer_xl",
    "bloom": "alibi",
    "mpt": "alibi",
}


def check_position_encoding(option: str, name: str) -> None:
    """Raise `ValueError` if `name`, the value of the config field `option`, is not a known position encoding."""
    if name in POSITION_ENCODINGS:
        return
    ours = _NAMES_ELSEWHERE.get(name.lower().replace("-", "_"))
    nearest = difflib.get_close_matches(name.lower(), POSITION_ENCODINGS, n=1)
    if ours is not None:
        hint = f': the name of {name!r} in Locant is "{ours}".'
    else:
        hint = f': did you mean "{nearest[0]}"?' if nearest else ": register a new one with register_position_encoding."
    raise ValueError(
        f"{option}: {name!r} is not a position encoding; the position encodings are "
        f"{', '.join(POSITION_ENCODINGS)}{hint}"
    )


def check_attention_kind(name: str, kind: AttentionKind, options: dict[str, Any], head_dim: int) -> None:
    """Raise `ValueError` if this kind of attention cannot have the encoding `name`, or if `options` are not valid."""
    entry = POSITION_ENCODINGS[name]
    if kind == "cross" and not entry.in_cross_attention:
        able = [other for other, options in POSITION_ENCODINGS.items() if options.in_cross_attention]
        raise ValueError(
            f"cross_position_encoding={name!r} is added to the embeddings, but cross-attention has no embeddings: "
            f"choose one of {', '.join(able)}."
        )
    if entry.check is not None:
        try:
            entry.check(options, head_dim)
        except ValueError as error:
            raise ValueError(f"position_parameters[{name!r}]: {error}") from error


def check_option_names(parameters: dict[str, dict[str, Any]]) -> None:
    """Raise `ValueError` unless `parameters` is `{encoding: {option: value}}` with encodings and options that exist."""
    for name, options in parameters.items():
        check_position_encoding("position_parameters", name)
        if not isinstance(options, dict):
            raise ValueError(
                f"position_parameters[{name!r}] must be a dictionary of that encoding's options, got {options!r}."
            )
        for option in options:
            if option not in POSITION_ENCODINGS[name].defaults:
                known = ", ".join(POSITION_ENCODINGS[name].defaults) or "none"
                raise ValueError(
                    f"position_parameters[{name!r}] has no option {option!r}; the options of {name} are: {known}."
                )


_ROPE_NUMBERS = {"rope_theta", "partial_rotary_factor", "factor", "beta_fast", "beta_slow"}
_ROPE_LISTS = {"short_factor", "long_factor"}
_ROPE_NUMBERS |= {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}


def check_rope_parameters(parameters: dict[str, Any], head_dim: int, kind: AttentionKind, axes: int) -> None:
    """Raise `ValueError` if the rope parameters are not valid for this kind of attention.

    They are not valid if the rope type is unknown or not possible in cross-attention, if a number is out of range, or
    if the rotated part of a head cannot be divided into `axes` equal parts of one or more whole pairs of entries.

    Args:
        parameters: the rope parameters of the config.
        head_dim: the size of a head.
        kind: the kind of attention.
        axes: the number of coordinates of a position: 2 for image patches, which have a row and a column, else 1.
    """
    known = ["default", *ROPE_INIT_FUNCTIONS]
    nested = [name for name, value in parameters.items() if isinstance(value, dict)]
    if nested:
        raise ValueError(
            f"rope_parameters has a dictionary of its own for {nested[0]!r}, but all layers have the same parameters: "
            "give rope_type, rope_theta and so on without layer types."
        )
    if parameters.get("rope_type", "default") not in known:
        raise ValueError(f"rope_type={parameters['rope_type']!r} is not a rope type: choose one of {', '.join(known)}.")
    if kind == "cross" and parameters.get("rope_type") in _ROPE_TYPES_BY_LENGTH:
        raise ValueError(
            f"rope_type={parameters['rope_type']!r} computes frequencies from the largest position, which differs "
            f"between queries and keys of cross-attention: choose another rope_type or cross_position_encoding."
        )
    for name in _ROPE_NUMBERS & parameters.keys():
        if not _is_positive(parameters[name]):
            raise ValueError(f"{name} must be a number above 0 and below 2**127, got {repr(parameters[name])[:80]}.")
    for name in _ROPE_LISTS & parameters.keys():
        factors = parameters[name]
        if not isinstance(factors, list | tuple) or not all(map(_is_positive, factors)):
            raise ValueError(f"{name} must be a list of numbers above 0 and below 2**127, got {repr(factors)[:80]}.")
    if parameters.get("partial_rotary_factor", 1.0) > 1:
        raise ValueError(f"partial_rotary_factor must be at most 1, got {parameters['partial_rotary_factor']}.")
    rotated = int(head_dim / axes * parameters.get("partial_rotary_factor", 1.0)) * axes
    if rotated < 2 * axes or rotated % (2 * axes) or head_dim % axes:
        stack = "encoder" if kind == "encoder" else "decoder"
        size = "even size" if axes == 1 else f"size that {2 * axes} divides, for the row and column of a patch"
        raise ValueError(
            f"Rotary encoding rotates pairs of entries, so the rotated part of a head must have a positive {size}, but "
            f"in the {stack} its size is {rotated}: change d_model, {stack}_attention_heads, head_dim or "
            "partial_rotary_factor."
        )
