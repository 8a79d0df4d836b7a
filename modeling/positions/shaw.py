# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Trained vectors of the clipped distance, added to keys and to values (Shaw et al. 2018)."""

from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import AnySpan, PositionEncoding, PositionLayer, indices
from .registry import built_in


class ShawKeysLayer(PositionLayer):
    """e_ij = q_i (k_j + a^K_clip(j-i))ᵀ / √d (equation 4), of which this is the part with a^K.

    Args:
        head_dim: d, the size of a head; all heads share the vectors (section 3.3).
        max_distance: where distances are clipped, k in the paper.
    """

    has_score = True

    def __init__(self, head_dim: int, max_distance: int = 16):
        super().__init__()
        self.max_distance = max_distance
        self.keys = nn.Parameter(torch.zeros(2 * max_distance + 1, head_dim))

    def init_weights(self) -> None:
        """Variance 1 / head_dim, so that the term starts at the size of a number of the keys' own."""
        init.normal_(self.keys, std=self.keys.shape[-1] ** -0.5)

    def places(self, batch: Any, query_index: Any, key_index: Any, span: AnySpan) -> torch.Tensor:
        """The row of each pair's vector."""
        distance = span.distance(batch, query_index, key_index)
        return distance.clamp(-self.max_distance, self.max_distance) + self.max_distance

    def rows(self, query: torch.Tensor, span: AnySpan, prepared: Any) -> torch.Tensor:
        """Each query's product with each vector, scaled like the scores: `(batch, heads, queries, 2k + 1)`."""
        return query @ (self.keys.T * self.keys.shape[-1] ** -0.5).to(query.dtype)

    def score(
        self, rows: Any, batch: Any, head: Any, query_index: Any, key_index: Any, span: AnySpan, prepared: Any
    ) -> torch.Tensor:
        """The product with the vector of the pair's distance."""
        return rows[batch, head, query_index, self.places(batch, query_index, key_index, span)]

    def dense(
        self, rows: Any, batch: int, heads: int, span: AnySpan, prepared: Any, device: torch.device
    ) -> torch.Tensor:
        """All pairs, gathered along each query's row."""
        return rows.gather(-1, self._all_places(rows.shape, span, device))

    def _all_places(self, shape: torch.Size, span: AnySpan, device: torch.device) -> torch.Tensor:
        batch, _, query_index, key_index = indices(shape[0], 1, span, device)
        places = self.places(batch, query_index, key_index, span)
        return places.expand(*shape[:2], span.queries, span.keys)


class ShawLayer(ShawKeysLayer):
    """z_i = Σ_j α_ij (v_j + a^V_clip(j-i)) (equation 3) too."""

    has_values = True

    def __init__(self, head_dim: int, max_distance: int = 16):
        super().__init__(head_dim, max_distance)
        self.vectors = nn.Parameter(torch.zeros(2 * max_distance + 1, head_dim))

    def init_weights(self) -> None:
        """As the keys'."""
        super().init_weights()
        init.normal_(self.vectors, std=self.vectors.shape[-1] ** -0.5)

    def values(self, weights: torch.Tensor, span: AnySpan) -> torch.Tensor:
        """The weights are summed by distance first: no vector is made for each pair."""
        by_distance = weights.new_zeros(*weights.shape[:3], 2 * self.max_distance + 1)
        by_distance = by_distance.scatter_add(-1, self._all_places(weights.shape, span, weights.device), weights)
        return by_distance @ self.vectors.to(weights.dtype)


@built_in("shaw")
class ShawEncoding(PositionEncoding):
    """Each layer has vectors of its own.

    Args:
        config: uses the head size and the options `max_distance` and `values` (whether values get vectors too;
            without them, more backends can serve it).
        place: encoder, decoder, or cross-attention, where distances are those of positions.
    """

    @classmethod
    def build_layer(cls, config: LocantConfig, place: Place, layer_idx: int) -> PositionLayer:
        """The vectors of one layer, with those of values or without."""
        options = config.position_options("shaw")
        layer = ShawLayer if options["values"] else ShawKeysLayer
        return layer(config.head_dim_at(place), options["max_distance"])
