# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Multi-head attention, to itself or across, with position entering through the contract of `positions.base`."""

from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from locant.configuration.configuration_locant import LocantConfig

from .masks import Mask
from .positions.base import PositionLayer, Positions, Span

# The backends that add a term to the scores, and those that return the weights which a term of the output needs
_BACKENDS_WITH_SCORE_TERM = ("eager", "sdpa")
_BACKENDS_WITH_VALUE_TERM = ("eager",)


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(Q K^T · scaling + bias + mask) V (Vaswani et al. 2017, equation 1), returning the weights too.

    Args:
        module: the attention layer; its `training` decides on dropout.
        query: `(batch, heads, queries, head_dim)`.
        key, value: `(batch, key_value_heads, keys, head_dim)`.
        attention_mask: added to the scores, broadcastable to `(batch, heads, queries, keys)`, or None.
        scaling: factor on the scores.
        dropout: on the weights, in training.
        position_bias: added to the scores, like the mask.

    Returns:
        Output `(batch, queries, heads, head_dim)` and weights `(batch, heads, queries, keys)`.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """Attention of queries to their own sequence, or to another one, with grouped key–value heads.

    Args:
        config: uses `d_model`, `attention_bias`, `attention_dropout` and the attention implementation.
        num_heads: query heads.
        num_key_value_heads: key–value heads, each shared by `num_heads / num_key_value_heads` query heads
            (Ainslie et al. 2023); by default `num_heads`.
        head_dim: size of a head, by default `d_model / num_heads`.
        is_causal: a query sees no later key (where no mask says otherwise).
        position: how position enters; by default not at all.
        layer_idx: place of this layer in the cache.

    Raises:
        ValueError: heads that do not divide.
    """

    def __init__(
        self,
        config: LocantConfig,
        num_heads: int,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        is_causal: bool = False,
        position: PositionLayer | None = None,
        layer_idx: int = 0,
    ):
        super().__init__()
        self.config = config
        self.head_dim = head_dim or config.d_model // num_heads
        self.num_key_value_heads = num_key_value_heads or num_heads
        if head_dim is None and config.d_model % num_heads:
            raise ValueError(
                f"num_heads={num_heads} does not divide d_model={config.d_model}: give head_dim, or a divisor."
            )
        if num_heads % self.num_key_value_heads:
            raise ValueError(f"num_key_value_heads={num_key_value_heads} does not divide num_heads={num_heads}.")
        self.num_key_value_groups = num_heads // self.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = is_causal
        self.layer_idx = layer_idx
        width, bias = config.d_model, config.attention_bias
        self.q_proj = nn.Linear(width, num_heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(width, self.num_key_value_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(width, self.num_key_value_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(num_heads * self.head_dim, width, bias=bias)
        self.position = PositionLayer() if position is None else position

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Mask | None = None,
        positions: Positions | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend.

        Args:
            hidden_states: `(batch, queries, d_model)`.
            attention_mask: as `masking_utils` makes it for the backend, or None.
            positions: what the stack prepared; None means slots from 0 on and nothing prepared.
            encoder_hidden_states: `(batch, keys, d_model)` to attend to another sequence.
            past_key_values: new keys and values are added to it, those of another sequence once.

        Returns:
            Output `(batch, queries, d_model)`, and the weights `(batch, heads, queries, keys)` with `eager`.

        Raises:
            ValueError: the backend cannot add the encoding's term to the scores or to the output.
        """
        positions = positions or Positions()
        backend = self.config._attn_implementation or "eager"
        self._check_backend(backend)
        query = self._split(self.q_proj(hidden_states))
        rows = self.position.rows(query, positions.query)
        query = self.position.query(query, positions.query)
        span = self._span(positions, query, encoder_hidden_states, past_key_values)
        key, value = self._keys_and_values(hidden_states, positions, encoder_hidden_states, past_key_values)
        if self.position.has_score:
            indices = _indices(query, key)
            kwargs["position_bias"] = self.position.score(rows, *indices, span, positions.query).to(query.dtype)
        output, weights = ALL_ATTENTION_FUNCTIONS.get_interface(backend, eager_attention)(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        if self.position.has_values:
            _, _, query_index, key_index = _indices(query, key)
            term = self.position.values(weights, query_index, key_index, span)
            output = output + term.transpose(1, 2)
        return self.o_proj(output.flatten(2)), weights

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        """`(batch, length, heads · head_dim)` to `(batch, heads, length, head_dim)`."""
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def _span(
        self,
        positions: Positions,
        query: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None,
        past_key_values: Cache | None,
    ) -> Span:
        """Where this call's queries and keys sit, asked before the cache takes the new keys."""
        if encoder_hidden_states is not None or past_key_values is None:
            return Span(positions.query_offset)
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)
        return Span(positions.query_offset, cache.get_mask_sizes(query.shape[2], self.layer_idx)[1])

    def _keys_and_values(
        self,
        hidden_states: torch.Tensor,
        positions: Positions,
        encoder_hidden_states: torch.Tensor | None,
        past_key_values: Cache | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, `(batch, key_value_heads, keys, head_dim)` each, with those of the cache."""
        is_cross = encoder_hidden_states is not None
        cache = past_key_values
        if isinstance(past_key_values, EncoderDecoderCache):
            cache = past_key_values.cross_attention_cache if is_cross else past_key_values.self_attention_cache
            if is_cross and past_key_values.is_updated.get(self.layer_idx):
                layer: Any = cache.layers[self.layer_idx]  # one of attention, and filled, so it has both
                return layer.keys, layer.values
        source = encoder_hidden_states if is_cross else hidden_states
        key = self.position.key(self._split(self.k_proj(source)), positions.key)
        value = self._split(self.v_proj(source))
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
            if is_cross and isinstance(past_key_values, EncoderDecoderCache):
                past_key_values.is_updated[self.layer_idx] = True
        return key, value

    def _check_backend(self, backend: str) -> None:
        for needed, able, place in (
            (self.position.has_score, _BACKENDS_WITH_SCORE_TERM, "scores"),
            (self.position.has_values, _BACKENDS_WITH_VALUE_TERM, "output"),
        ):
            if needed and backend not in able:
                raise ValueError(
                    f"{backend} cannot add this position encoding's term to the {place} of attention: "
                    f"set_attn_implementation to {' or '.join(able)}."
                )


def _indices(query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numbers of batch, head, query and key, each along its own one of four dimensions."""
    sizes = (query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    batch, head, query_index, key_index = (
        torch.arange(size, device=query.device).view([-1 if axis == place else 1 for axis in range(4)])
        for place, size in enumerate(sizes)
    )
    return batch, head, query_index, key_index
