# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Attention falls linearly with distance, each head at its own slope (Press et al. 2022, ALiBi)."""

import math
from typing import Any

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import DistanceLayer, PositionEncoding, PositionLayer
from .registry import built_in


def alibi_slopes(heads: int, max_bias: float = 8.0) -> torch.Tensor:
    """Slopes `(heads,)`: for n heads, a power of two, the sequence from 2^(-max_bias / n) with that same ratio.

    For other numbers of heads, the slopes of the power of two below, and then every second one of the sequence
    twice as long (the authors' code; the paper's section 3 gives the powers of two).
    """
    below = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-max_bias * (i + 1) / below) for i in range(below)]
    between = [2.0 ** (-max_bias * (2 * i + 1) / (2 * below)) for i in range(heads - below)]
    return torch.tensor(slopes + between, dtype=torch.float32, device="cpu")


class AlibiLayer(DistanceLayer):
    """-slope · |distance|: the paper's in a decoder, where all keys are earlier; symmetric in an encoder."""

    in_slopes = True

    def term(self, head: Any, distance: Any, prepared: torch.Tensor) -> torch.Tensor:
        """Head and distance, which broadcast; prepared: the slopes."""
        return -prepared[head] * distance.abs()


@built_in("alibi")
class AlibiEncoding(PositionEncoding):
    """Has no parameters.

    Args:
        config: uses the number of heads and the option `max_bias`: the last of n slopes, n a power of two, is
            2^-max_bias (MPT's `alibi_bias_max`).
        place: encoder, decoder, or cross-attention, where distances are those of positions.
    """

    shares_score = True
    slopes: torch.Tensor

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        self.register_fixed()

    def fixed(self) -> dict[str, torch.Tensor]:
        """The slopes."""
        return {
            "slopes": alibi_slopes(self.config.heads_at(self.place), self.config.position_options("alibi")["max_bias"])
        }

    def prepare(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """The slopes, `(heads,)`."""
        return self.slopes

    @classmethod
    def build_layer(cls, config: LocantConfig, place: Place, layer_idx: int) -> PositionLayer:
        """The same slopes in every layer."""
        return AlibiLayer()
