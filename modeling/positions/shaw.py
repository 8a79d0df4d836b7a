# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Trained vectors for each clipped distance, one added to keys and one added to values (Shaw et al. 2018)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig

from .base import PositionBias, PositionEncoding, PositionInputs, PositionLayer, pair_indices, register_built_in


@dataclass(frozen=True)
class ShawKeysBias(PositionBias):
    """The bias on the scores: the term with a^K in the score e_ij = q_i (k_j + a^K_clip(j-i))ᵀ / √d (equation 4).

    Args:
        products: products of each query with each vector a^K, scaled like the scores, `(batch, heads, queries, 2k +
            1)`.
        max_distance: the distance to which longer distances are clipped, k in the paper.
    """

    products: torch.Tensor
    max_distance: int

    def pointwise(self, batch: Any, head: Any, q_idx: Any, kv_idx: Any) -> torch.Tensor:
        """The bias q_i · a^K_clip(j-i) / √d on the score of query i and key j."""
        return self.products[batch, head, q_idx, self._clipped(batch, q_idx, kv_idx)]

    def matrix(self, batch: int, heads: int, device: torch.device) -> torch.Tensor:
        """The bias q_i · a^K_clip(j-i) / √d of each pair of a query and a key, `(batch, heads, queries, keys)`."""
        return self.products.gather(-1, self._clipped_of_all_pairs(self.products.shape))

    def block(self, queries: slice, keys: slice) -> "ShawKeysBias":
        """The bias of a block of the queries and keys."""
        return replace(self, index=self.index.block(queries, keys), products=self.products[:, :, queries])

    def _clipped(self, batch: Any, q_idx: Any, kv_idx: Any) -> torch.Tensor:
        distance = self.index.distance(batch, q_idx, kv_idx)
        return distance.clamp(-self.max_distance, self.max_distance) + self.max_distance

    def _clipped_of_all_pairs(self, shape: torch.Size) -> torch.Tensor:
        batch, _, q_idx, kv_idx = pair_indices(shape[0], 1, self.index, self.products.device)
        clipped = self._clipped(batch, q_idx, kv_idx)
        return clipped.expand(*shape[:2], self.index.q_length, self.index.kv_length)


@dataclass(frozen=True)
class ShawBias(ShawKeysBias):
    """Adds to `ShawKeysBias` a bias on the output: the term with a^V in z_i = Σ_j α_ij (v_j + a^V_clip(j-i)).

    This is equation 3 of the paper.

    Args:
        vectors: a^V, `(2k + 1, head_dim)`.
    """

    vectors: torch.Tensor

    has_output: ClassVar[bool] = True

    def output(self, weights: torch.Tensor) -> torch.Tensor:
        """The bias on the output, Σ_j α_ij a^V_clip(j-i).

        The weights are summed by distance first, so that no vector is made for each pair of query and key. The sums are
        in float32: far keys share a clipped distance, and on a GPU the sum of their many small weights would stop
        growing in half precision.
        """
        dtype = torch.promote_types(weights.dtype, torch.float32)
        by_distance = weights.new_zeros(*weights.shape[:3], 2 * self.max_distance + 1, dtype=dtype)
        by_distance = by_distance.scatter_add(-1, self._clipped_of_all_pairs(weights.shape), weights.to(dtype))
        return by_distance.to(weights.dtype) @ self.vectors.to(weights.dtype)


class ShawLayer(PositionLayer):
    """The trained vectors a^K and a^V of one layer, which all its heads share (Shaw et al. 2018, section 3.3).

    Args:
        head_dim: d, the size of a head.
        max_distance: the distance to which longer distances are clipped, k in the paper.
        values: whether vectors a^V are added to the values; vectors a^K are always added to the keys.
    """

    # all heads share the vectors, so the gradients of the heads in all processes are added
    tensor_parallel_plan: ClassVar[dict[str, str]] = {"": "replicated_with_grad_allreduce"}

    def __init__(self, head_dim: int, max_distance: int = 16, values: bool = True):
        super().__init__()
        self.max_distance = max_distance
        self.keys = nn.Parameter(torch.zeros(2 * max_distance + 1, head_dim))
        self.vectors = nn.Parameter(torch.zeros(2 * max_distance + 1, head_dim)) if values else None

    def init_weights(self) -> None:
        """Initialise the vectors with variance 1 / head_dim: q · a is then about as large as one summand of q · k."""
        for vectors in (self.keys, self.vectors):
            if vectors is not None:
                init.normal_(vectors, std=vectors.shape[-1] ** -0.5)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor | None, inputs: PositionInputs
    ) -> tuple[torch.Tensor, torch.Tensor | None, PositionBias]:
        """Return the queries and keys unchanged, and the bias."""
        products = query @ (self.keys.T * self.keys.shape[-1] ** -0.5).to(query.dtype)
        if self.vectors is None:
            return query, key, ShawKeysBias(inputs.query_key_index, products, self.max_distance)
        return query, key, ShawBias(inputs.query_key_index, products, self.max_distance, self.vectors)


@register_built_in("shaw")
class ShawEncoding(PositionEncoding):
    """The position encoding of Shaw et al. (2018); each layer has its own vectors.

    Args:
        config: gives the head size and the options `max_distance` and `values` (whether vectors are added to the values
            as well as to the keys; if not, more backends can serve the encoding).
        kind: `encoder`, `decoder`, or `cross`; in cross-attention, distances are differences of position ids.
    """

    @classmethod
    def bias_types(cls, config: LocantConfig) -> frozenset[str]:
        """Return `pointwise`, for the scores, and, unless the option `values` is False, `output`, for the output."""
        return frozenset({"pointwise", "output"} if config.position_options("shaw")["values"] else {"pointwise"})

    def build_layer(self, layer_idx: int) -> ShawLayer:
        """Build the `ShawLayer` that holds the vectors of one layer."""
        return ShawLayer(self.config.head_dim_at(self.kind), **self.config.position_options("shaw"))
