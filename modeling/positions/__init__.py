# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The position encodings, with one file for each; `base` defines their common interface."""

from .alibi import AlibiEncoding
from .base import (
    DistanceBias,
    PositionBias,
    PositionEncoding,
    PositionIndex,
    PositionInputs,
    PositionLayer,
    QueryKeyIndex,
    SlotIndex,
    build_position_encoding,
    register_position_encoding,
)
from .learned import LearnedEncoding
from .rotary import RotaryEncoding
from .shaw import ShawEncoding
from .sinusoidal import SinusoidalEncoding
from .t5 import T5Encoding
from .transformer_xl import TransformerXLEncoding

__all__ = [
    "AlibiEncoding",
    "DistanceBias",
    "LearnedEncoding",
    "PositionBias",
    "PositionEncoding",
    "PositionIndex",
    "PositionInputs",
    "PositionLayer",
    "QueryKeyIndex",
    "RotaryEncoding",
    "ShawEncoding",
    "SinusoidalEncoding",
    "SlotIndex",
    "T5Encoding",
    "TransformerXLEncoding",
    "build_position_encoding",
    "register_position_encoding",
]
