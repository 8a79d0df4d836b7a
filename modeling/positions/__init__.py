# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Position encodings, one file each, behind the contract in `base`."""

from .alibi import AlibiEncoding
from .base import DistanceLayer, PositionEncoding, PositionLayer, Positions, PositionSpan, Span
from .learned import LearnedEncoding
from .none import NoPosition
from .registry import build_position_encoding, register_position_encoding
from .rotary import RotaryEncoding
from .shaw import ShawEncoding
from .sinusoidal import SinusoidalEncoding
from .t5 import T5Encoding
from .transformer_xl import TransformerXLEncoding

__all__ = [
    "AlibiEncoding",
    "DistanceLayer",
    "LearnedEncoding",
    "NoPosition",
    "PositionEncoding",
    "PositionLayer",
    "PositionSpan",
    "Positions",
    "RotaryEncoding",
    "ShawEncoding",
    "SinusoidalEncoding",
    "Span",
    "T5Encoding",
    "TransformerXLEncoding",
    "build_position_encoding",
    "register_position_encoding",
]
