# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A trained number for each head and bucket of distances (Raffel et al. 2020, section 2.1)."""

import math
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import DistanceLayer, PositionEncoding, PositionLayer
from .registry import built_in


def t5_bucket(distance: torch.Tensor, is_causal: bool, num_buckets: int, max_distance: int) -> torch.Tensor:
    """The bucket of a distance (key minus query), same shape.

    Half of the buckets hold one distance each, the others grow with its logarithm up to `max_distance`; farther ones
    share the last. Where a query sees both sides, each side has half of all buckets, later keys the upper half.
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


class T5Layer(DistanceLayer):
    """Looks the number up; the table is the stack's.

    Args:
        is_causal: no query sees a later key, so that all buckets are for earlier ones.
        num_buckets, max_distance: as in `t5_bucket`.
    """

    def __init__(self, is_causal: bool, num_buckets: int = 32, max_distance: int = 128):
        super().__init__()
        self.is_causal, self.num_buckets, self.max_distance = is_causal, num_buckets, max_distance

    def term(self, head: Any, distance: Any, prepared: torch.Tensor) -> torch.Tensor:
        """Head and distance, which broadcast; prepared: the table `(num_buckets, heads)`."""
        return prepared[t5_bucket(distance, self.is_causal, self.num_buckets, self.max_distance), head]


@built_in("t5")
class T5Encoding(PositionEncoding):
    """One table for all layers of the stack.

    Args:
        config: uses the number of heads and the options `num_buckets` and `max_distance`.
        place: encoder or cross-attention (both sides are seen), or decoder (causal).
    """

    shares_score = True

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        self.table = nn.Parameter(torch.zeros(config.position_options("t5")["num_buckets"], config.heads_at(place)))

    def init_weights(self) -> None:
        """Standard deviation 1 / √d_model, as in T5: buckets that training never meets then say next to nothing."""
        init.normal_(self.table, std=self.config.d_model**-0.5)

    def prepare(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """The table `(num_buckets, heads)`."""
        return self.table

    @classmethod
    def build_layer(cls, config: LocantConfig, place: Place, layer_idx: int) -> PositionLayer:
        """The same look into the table for every layer."""
        return T5Layer(place == "decoder", **config.position_options("t5"))
