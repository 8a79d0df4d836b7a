# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The relative position encoding of Transformer-XL (Dai et al. 2019, section 3.3).

The score is the product of the query with the key, plus the product of the query with a projected sinusoid of the
distance. Before each product, a trained vector is added to the query: u before the first product, v before the
second product.
"""

from dataclasses import dataclass
from typing import ClassVar

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
from .sinusoidal import sinusoids


@dataclass(frozen=True)
class TransformerXLBias(PositionBias):
    """The part of the scores that depends on distance, (q + v) (W R_i-j)ᵀ / √d.

    Args:
        queries: (q + v) / √d, `(batch, heads, queries, head_dim)`.
        projected: W R of each distance that occurs, `(heads, head_dim, distances)`.
    """

    queries: torch.Tensor
    projected: torch.Tensor

    def matrix(self, batch: int, heads: int, device: torch.device) -> torch.Tensor:
        """The bias (q + v) (W R_i-j)ᵀ / √d of each pair of a query and a key, `(batch, heads, queries, keys)`."""
        products = self.queries @ self.projected.to(self.queries.dtype)  # the product of each query with each `W R`
        index = self.index
        if isinstance(index, PositionIndex):
            of_batch, head, q_idx, kv_idx = pair_indices(batch, heads, index, products.device)
            return products[of_batch, head, q_idx, index.distance_index(of_batch, q_idx, kv_idx)]
        if index.q_length == 1:
            return products
        # the scores of a query begin one element earlier in its row than the scores of the query before
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
    """Holds the trained vectors u, v and matrix W of one layer: scores are ((q + u) kᵀ + (q + v) (W R_i-j)ᵀ) / √d.

    `forward` adds u to the queries, and returns the second product as the bias.

    Args:
        width: the width of R, which is `d_model`.
        heads, head_dim: the number and the size of the query heads.
    """

    tensor_parallel_plan: ClassVar[dict[str, str]] = {
        "r_proj": "colwise",
        "content_bias": "colwise",
        "position_bias": "colwise",
        "": "local_params",
    }

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.width = width
        self.r_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.position_bias = nn.Parameter(torch.zeros(heads, head_dim))

    def init_weights(self) -> None:
        """Set u and v to 0; the projection W is initialised like every other linear layer."""
        init.zeros_(self.content_bias)
        init.zeros_(self.position_bias)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor | None, inputs: PositionInputs
    ) -> tuple[torch.Tensor, torch.Tensor | None, PositionBias]:
        """Return the queries plus u, the keys unchanged, and the bias."""
        dtype = torch.float32 if query.device.type == "mps" else torch.float64  # MPS has no float64
        # the position of the query minus the position of the key
        distances = (-inputs.query_key_index.distances(query.device)).to(dtype)
        projected = self.r_proj(sinusoids(distances, self.width, "concatenated").to(self.position_bias.dtype))
        projected = projected.unflatten(-1, self.position_bias.shape).permute(1, 2, 0)
        with_v = (query + self.position_bias[:, None].to(query.dtype)) * query.shape[-1] ** -0.5
        bias = TransformerXLBias(inputs.query_key_index, with_v, projected)
        return query + self.content_bias[:, None].to(query.dtype), key, bias


@register_built_in("transformer_xl")
class TransformerXLEncoding(PositionEncoding):
    """The position encoding of Transformer-XL. Each layer has its own u, v and W; distances may be of either sign.

    Args:
        config: gives `d_model`, the number of heads and the head size.
        kind: `encoder`, `decoder`, or `cross`; in cross-attention, distances are differences of position ids.
    """

    needs_position_bound = True  # for a `PositionIndex`, `W R` is computed for every distance within the bound

    @classmethod
    def bias_types(cls, config: LocantConfig) -> frozenset[str]:
        """Return `dense`: this encoding adds a matrix to the attention scores, a number for each query and key."""
        return frozenset({"dense"})

    def build_layer(self, layer_idx: int) -> TransformerXLLayer:
        """Build the layer that holds u, v and W."""
        config = self.config
        return TransformerXLLayer(config.d_model, config.heads_at(self.kind), config.head_dim_at(self.kind))
