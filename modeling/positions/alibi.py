# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""ALiBi: a bias that falls linearly with distance, with a different slope in each head (Press et al. 2022)."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .base import DistanceBias, PositionEncoding, QueryKeyIndex, heads_of_process, register_built_in


def alibi_slopes(heads: int, max_bias: float = 8.0) -> torch.Tensor:
    """Return the slope of each head, `(heads,)`.

    If the number of heads n is a power of two, the slopes are 2^(-max_bias · i / n) for i from 1 to n (section 3 of the
    paper). For another number of heads, they are the slopes for the next lower power of two, followed by the first,
    third, fifth, … slope for twice this power (as in the authors' code).
    """
    below = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-max_bias * (i + 1) / below) for i in range(below)]
    between = [2.0 ** (-max_bias * (2 * i + 1) / (2 * below)) for i in range(heads - below)]
    return torch.tensor(slopes + between, dtype=torch.float32, device="cpu")


@dataclass(frozen=True)
class AlibiBias(DistanceBias):
    """The bias -slope · |distance|. In a decoder, this is the paper's bias; in an encoder, it is symmetric.

    Args:
        slopes: `(heads,)`.
    """

    slopes: torch.Tensor

    def of_distance(self, head: Any, distance: Any) -> torch.Tensor:
        """Compute the bias for the tensors `head` and `distance`, whose shapes broadcast.

        A distance is the position of the key minus the position of the query.
        """
        return -self.slopes[head] * distance.abs()


@register_built_in("alibi")
class AlibiEncoding(PositionEncoding):
    """A bias that falls linearly with the distance, with a fixed slope for each head; it has no parameters.

    Args:
        config: gives the number of heads and the option `max_bias` (MPT's `alibi_bias_max`): if the number of heads is
            a power of two, the last slope is 2^-max_bias.
        kind: `encoder`, `decoder`, or `cross`; in cross-attention, distances are differences of position ids.
    """

    slopes: torch.Tensor

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.register_computed_buffers()

    @classmethod
    def bias_types(cls, config: LocantConfig) -> frozenset[str]:
        """Return `linear`: this encoding adds -slope · |distance| to the scores, with a slope for each head."""
        return frozenset({"linear"})

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        """Return the slopes `(heads,)`; under tensor parallelism, those of the heads that this process computes."""
        max_bias = self.config.position_options("alibi")["max_bias"]
        slopes = alibi_slopes(self.config.heads_at(self.kind), max_bias)
        return {"slopes": slopes[heads_of_process(self.config, self.kind)]}

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings unchanged, and the slopes `(heads,)` for the layers."""
        return hidden_states, self.slopes

    def shared_bias(self, position: torch.Tensor, index: QueryKeyIndex) -> AlibiBias:
        """Make the `AlibiBias` of the queries and keys in `index`; all layers share it."""
        return AlibiBias(index, position)
