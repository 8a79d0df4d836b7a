# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A trained bias for each head and bucket of distances (Raffel et al. 2020, section 2.1)."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .base import DistanceBias, PositionEncoding, QueryKeyIndex, register_built_in


def t5_bucket(distance: torch.Tensor, is_causal: bool, num_buckets: int, max_distance: int) -> torch.Tensor:
    """Compute the number of the bucket of each distance (key minus query), in the same shape.

    If `is_causal` is False, later keys have the upper half of the buckets, and all other keys have the lower half.
    Otherwise, all buckets are for keys that are not later. Of the buckets of one direction, the first half hold one
    distance each, and the second half hold ranges of distances up to `max_distance`, which have the same size on a
    logarithmic scale. The last bucket also holds all longer distances.
    """
    if is_causal:
        side, steps = torch.zeros_like(distance), (-distance).clamp(min=0)
    else:
        num_buckets //= 2
        side, steps = (distance > 0).long() * num_buckets, distance.abs()
    near = num_buckets // 2
    share = (steps.clamp(min=1).float() / near).log() / math.log(max_distance / near)
    far = (near + (share * (num_buckets - near)).long()).clamp(max=num_buckets - 1)
    return side + torch.where(steps < near, steps, far)


@dataclass(frozen=True)
class T5Bias(DistanceBias):
    """The trained bias of T5: the table's entry for the head and for the bucket of the distance.

    Args:
        table: `(num_buckets, heads)`.
        is_causal: whether no query sees a later key; then all buckets are for earlier keys.
        num_buckets, max_distance: as in `t5_bucket`.
    """

    table: torch.Tensor
    is_causal: bool
    num_buckets: int
    max_distance: int

    def of_distance(self, head: Any, distance: Any) -> torch.Tensor:
        """Compute the bias of `head` at `distance` (key minus query); both are tensors that broadcast."""
        return self.table[t5_bucket(distance, self.is_causal, self.num_buckets, self.max_distance), head]


@register_built_in("t5")
class T5Encoding(PositionEncoding):
    """The position encoding of T5, with one bias table for all layers of the stack.

    Args:
        config: gives `d_model`, the number of heads, and the options `num_buckets` and `max_distance`.
        kind: `encoder` or `cross` (buckets for earlier and later keys), or `decoder` (buckets for earlier keys only).
    """

    # a column of `table` has the biases of one head; the style `rowwise` gives each process the columns of its heads
    tensor_parallel_plan: ClassVar[dict[str, str]] = {"table": "rowwise", "": "local_params"}

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.options = config.position_options("t5")
        self.table = nn.Parameter(torch.zeros(self.options["num_buckets"], config.heads_at(kind)))

    @classmethod
    def bias_types(cls, config: LocantConfig) -> frozenset[str]:
        """Return `pointwise`: this encoding adds a function of head and distance to the attention scores."""
        return frozenset({"pointwise"})

    def init_weights(self) -> None:
        """Initialise with std 1 / √d_model, as in T5: buckets that do not occur in training then add almost nothing."""
        init.normal_(self.table, std=self.config.d_model**-0.5)

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings unchanged, and the bias table `(num_buckets, heads)` for the layers."""
        return hidden_states, self.table

    def shared_bias(self, position: torch.Tensor, index: QueryKeyIndex) -> T5Bias:
        """Make the `T5Bias` of the queries and keys in `index`; all layers share it."""
        return T5Bias(index, position, self.kind == "decoder", **self.options)
