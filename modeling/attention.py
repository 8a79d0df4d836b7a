# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Multi-head attention, to itself or across, with position entering through the contract of `positions.base`."""

from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, EncoderDecoderCache

from locant.configuration.configuration_locant import LocantConfig

from .attention_backends import Term, backend_function, check_backend
from .blockwise import blockwise_attention  # noqa: F401 (registers the backend)
from .masks import Mask, build_mask
from .offloading import at_hand
from .positions.base import PositionLayer, Positions, Span


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
        sliding_window: as in the config; the mask says it to all backends but flash attention, which is told.

    Raises:
        ValueError: heads that do not divide; a backend that cannot serve the encoding.
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
        sliding_window: int | None = None,
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
        self.sliding_window = sliding_window
        width, bias = config.d_model, config.attention_bias
        self.q_proj = nn.Linear(width, num_heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(width, self.num_key_value_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(width, self.num_key_value_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(num_heads * self.head_dim, width, bias=bias)
        self.position = PositionLayer() if position is None else position
        check_backend(config._attn_implementation or "eager", self.position)

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
            attention_mask: as `build_mask` makes it for the backend. By default a stack's layers see all, and an
                attention alone what causality and its window allow.
            positions: what the stack prepared; by default slots as the cache counts them, and nothing prepared.
            encoder_hidden_states: `(batch, keys, d_model)` to attend to another sequence.
            past_key_values: new keys and values are added to it, those of another sequence once.

        Returns:
            Output `(batch, queries, d_model)`, and the weights `(batch, heads, queries, keys)` with `eager`.
        """
        positions = positions or Positions()
        with at_hand(self.position):
            plain_query = self._split(self.q_proj(hidden_states))
            query = self.position.query(plain_query, positions.query)
            span = positions.span
            if span is None:  # alone, outside of a stack
                span = self._span(query, encoder_hidden_states, past_key_values)
                if attention_mask is None and encoder_hidden_states is None:
                    attention_mask = self._mask(hidden_states, span, past_key_values)
            key, value = self._keys_and_values(hidden_states, positions, encoder_hidden_states, past_key_values)
            term = None
            if self.position.has_score or self.position.has_values:
                prepared = self.position.project(span, positions.query)
                term = Term(self.position, plain_query, span, prepared, positions.in_mask)
            output, weights = backend_function(self.config._attn_implementation)(
                self,
                query,
                key,
                value,
                attention_mask,
                dropout=self.config.attention_dropout if self.training else 0.0,
                scaling=self.scaling,
                term=term,
                is_cross=encoder_hidden_states is not None,
                **kwargs,
            )
        return self.o_proj(output.flatten(2)), weights

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        """`(batch, length, heads · head_dim)` to `(batch, heads, length, head_dim)`."""
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def _span(
        self, query: torch.Tensor, encoder_hidden_states: torch.Tensor | None, past_key_values: Cache | None
    ) -> Span:
        """The slots of queries and keys, asked before the cache takes the new keys."""
        length = query.shape[2]
        if encoder_hidden_states is not None:
            return Span(length, encoder_hidden_states.shape[1])
        if past_key_values is None:
            return Span(length, length)
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)
        return span_of_cache(cache, length, self.layer_idx)

    def _mask(self, hidden_states: torch.Tensor, span: Span, past_key_values: Cache | None) -> Mask | None:
        """Causality and the window."""
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)
        is_causal, window = self.is_causal, self.sliding_window
        return build_mask(self.config, hidden_states, span, is_causal=is_causal, window=window, cache=cache)

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


def span_of_cache(cache: Cache | None, length: int, layer_idx: int) -> Span:
    """Where `length` new queries sit, and the keys that layer `layer_idx` will have with them."""
    if cache is None:
        return Span(length, length)
    keys, key_offset = cache.get_mask_sizes(length, layer_idx)
    past = cache.get_query_offset(layer_idx)
    # a static cache goes on counting in the same tensor
    return Span(length, keys, past.clone() if isinstance(past, torch.Tensor) else past, key_offset)
