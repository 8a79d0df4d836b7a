# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""No position at all: an encoder then sees a set, a causal decoder only what came before."""

from .base import PositionEncoding
from .registry import built_in


@built_in("none")
class NoPosition(PositionEncoding):
    """Leaves everything as it is (Kazemnejad et al. 2023 call a decoder with it NoPE)."""
