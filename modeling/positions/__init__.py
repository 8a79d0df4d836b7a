# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Position encodings, one file each, behind the contract in `base`."""

from .base import PositionEncoding, PositionLayer, Positions, Span
from .learned import LearnedEncoding
from .none import NoPosition
from .registry import build_position_encoding, register_position_encoding
from .rotary import RotaryEncoding
from .sinusoidal import SinusoidalEncoding

__all__ = [
    "LearnedEncoding",
    "NoPosition",
    "PositionEncoding",
    "PositionLayer",
    "Positions",
    "RotaryEncoding",
    "SinusoidalEncoding",
    "Span",
    "build_position_encoding",
    "register_position_encoding",
]
