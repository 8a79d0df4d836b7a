# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Content and distance meet in four terms, with a bias of the query for each (Dai et al. 2019, section 3.3)."""

from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import AnySpan, PositionEncoding, PositionLayer, PositionSpan
from .registry import built_in


def distance_sinusoids(distances: torch.Tensor, width: int) -> torch.Tensor:
    """R of the paper for distances `(n,)`, query minus key: all sines, then all cosines, `(n, width)` in float32."""
    dtype = torch.float32 if distances.device.type == "mps" else torch.float64  # the one that has no float64
    exponents = torch.arange(0, width, 2, dtype=dtype, device=distances.device) / width
    angles = torch.outer(distances.to(dtype), 10000.0**-exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width].float()


class TransformerXLLayer(PositionLayer):
    """((q + u) kᵀ + (q + v) (W R_i-j)ᵀ) / √d: u enters the query, and the second product is the term.

    u, v and W are each layer's own.

    Args:
        width: of R, the model's.
        heads, head_dim: of the queries.
    """

    has_score = True
    is_per_pair = True

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.r_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.position_bias = nn.Parameter(torch.zeros(heads, head_dim))

    def init_weights(self) -> None:
        """The biases start at 0; the projection is set like every other."""
        init.zeros_(self.content_bias)
        init.zeros_(self.position_bias)

    def query(self, query: torch.Tensor, prepared: Any) -> torch.Tensor:
        """q + u."""
        return query + self.content_bias[:, None].to(query.dtype)

    def project(self, span: AnySpan, prepared: Any) -> torch.Tensor:
        """W R of each distance that occurs: `(heads, head_dim, distances)`."""
        weight = self.r_proj.weight
        sinusoids = distance_sinusoids(-span.distances(weight.device), weight.shape[1]).to(weight.dtype)
        return self.r_proj(sinusoids).unflatten(-1, self.position_bias.shape).permute(1, 2, 0)

    def rows(self, query: torch.Tensor, span: AnySpan, prepared: torch.Tensor) -> torch.Tensor:
        """Each query's product with each distance that occurs: `(batch, heads, queries, distances)`."""
        query = (query + self.position_bias[:, None].to(query.dtype)) * query.shape[-1] ** -0.5
        count = span.distances(query.device).shape[0]
        return query @ prepared[..., span.first_place : span.first_place + count].to(query.dtype)

    def score(
        self, rows: Any, batch: Any, head: Any, query_index: Any, key_index: Any, span: AnySpan, prepared: Any
    ) -> torch.Tensor:
        """The product with the pair's distance."""
        return rows[batch, head, query_index, span.place(batch, query_index, key_index)]

    def dense(
        self, rows: Any, batch: int, heads: int, span: AnySpan, prepared: Any, device: torch.device
    ) -> torch.Tensor:
        """All pairs: each query's row begins one place further to the left than that of the query before it."""
        if isinstance(span, PositionSpan):
            return super().dense(rows, batch, heads, span, prepared, device)
        if span.queries == 1:
            return rows
        skewed = rows.flatten(-2)[..., span.queries - 1 :]
        skewed = skewed[..., : span.queries * (rows.shape[-1] - 1)].unflatten(-1, (span.queries, rows.shape[-1] - 1))
        return skewed[..., : span.keys]


@built_in("transformer_xl")
class TransformerXLEncoding(PositionEncoding):
    """In an encoder, distances have both signs.

    Args:
        config: uses `d_model`, the heads and their size.
        place: encoder, decoder, or cross-attention, where distances are those of positions.
    """

    @classmethod
    def build_layer(cls, config: LocantConfig, place: Place, layer_idx: int) -> PositionLayer:
        """The u, v and W of one layer."""
        return TransformerXLLayer(config.d_model, config.heads_at(place), config.head_dim_at(place))
