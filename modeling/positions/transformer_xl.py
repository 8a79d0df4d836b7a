# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Relative positions of Transformer-XL (Dai et al. 2019, section 3.3): scores of content and of distance, for each of
which a trained vector is added to the query.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig

from .base import (
    PositionBias,
    PositionEncoding,
    PositionIndex,
    PositionInputs,
    PositionLayer,
    pair_indices,
    register_built_in,
)


def distance_sinusoids(distances: torch.Tensor, width: int) -> torch.Tensor:
    """R of the paper for distances `(n,)`, query minus key: all sines, then all cosines, `(n, width)` in float32."""
    dtype = torch.float32 if distances.device.type == "mps" else torch.float64  # MPS has no float64
    exponents = torch.arange(0, width, 2, dtype=dtype, device=distances.device) / width
    angles = torch.outer(distances.to(dtype), 10000.0**-exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width].float()


@dataclass(frozen=True)
class TransformerXLBias(PositionBias):
    """(q + v) (W R_i-j)ᵀ / √d.

    Args:
        queries: (q + v) / √d, `(batch, heads, queries, head_dim)`.
        projected: W R of each distance that occurs, `(heads, head_dim, distances)`.
    """

    queries: torch.Tensor
    projected: torch.Tensor

    def matrix(self, batch: int, heads: int, device: torch.device) -> torch.Tensor:
        """The products of all pairs, `(batch, heads, queries, keys)`."""
        products = self.queries @ self.projected.to(self.queries.dtype)  # of each query with each distance
        index = self.index
        if isinstance(index, PositionIndex):
            of_batch, head, q_idx, kv_idx = pair_indices(batch, heads, index, products.device)
            return products[of_batch, head, q_idx, index.distance_index(of_batch, q_idx, kv_idx)]
        if index.q_length == 1:
            return products
        # the row of a query begins one element before that of the previous query
        distances = products.shape[-1]
        skewed = products.flatten(-2)[..., index.q_length - 1 :]
        skewed = skewed[..., : index.q_length * (distances - 1)].unflatten(-1, (index.q_length, distances - 1))
        return skewed[..., : index.kv_length]

    def block(self, queries: slice, keys: slice) -> "TransformerXLBias":
        """The bias of a block of the queries and keys, with the distances that occur in it."""
        index, projected = self.index.block(queries, keys), self.projected
        if not isinstance(index, PositionIndex):
            first = keys.start + self.index.q_length - queries.stop
            projected = projected[..., first : first + index.q_length + index.kv_length - 1]
        return TransformerXLBias(index, self.queries[:, :, queries], projected)


class TransformerXLLayer(PositionLayer):
    """((q + u) kᵀ + (q + v) (W R_i-j)ᵀ) / √d: u is added to the query, and the second product is the bias.

    u, v and W are each layer's own.

    Args:
        width: of R, the model's.
        heads, head_dim: of the queries.
    """

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.width = width
        self.r_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.position_bias = nn.Parameter(torch.zeros(heads, head_dim))

    def init_weights(self) -> None:
        """The biases start at 0; the projection is initialised like every other."""
        init.zeros_(self.content_bias)
        init.zeros_(self.position_bias)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor | None, inputs: PositionInputs
    ) -> tuple[torch.Tensor, torch.Tensor | None, PositionBias]:
        """The queries plus u, the keys unchanged, and the bias."""
        sinusoids = distance_sinusoids(-inputs.query_key_index.distances(query.device), self.width)
        projected = self.r_proj(sinusoids.to(self.position_bias.dtype))
        projected = projected.unflatten(-1, self.position_bias.shape).permute(1, 2, 0)
        with_v = (query + self.position_bias[:, None].to(query.dtype)) * query.shape[-1] ** -0.5
        bias = TransformerXLBias(inputs.query_key_index, with_v, projected)
        return query + self.content_bias[:, None].to(query.dtype), key, bias


@register_built_in("transformer_xl")
class TransformerXLEncoding(PositionEncoding):
    """Relative positions with trained vectors u and v and a projection W for each layer; distances have both signs.

    Args:
        config: uses `d_model`, the heads and their size.
        kind: encoder, decoder, or cross-attention, where distances are those of positions.
    """

    needs_position_bound = True  # for a `PositionIndex`, `W R` is computed for every distance within the bound

    @classmethod
    def bias_types(cls, config: LocantConfig) -> frozenset[str]:
        """A number for each pair."""
        return frozenset({"dense"})

    def build_layer(self, layer_idx: int) -> TransformerXLLayer:
        """The u, v and W of one layer."""
        config = self.config
        return TransformerXLLayer(config.d_model, config.heads_at(self.kind), config.head_dim_at(self.kind))
