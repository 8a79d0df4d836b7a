# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Multi-head attention: self-attention, and cross-attention of a decoder to the encoder's output."""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.utils import logging

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .attention_backends import attention_function
from .attention_inputs import AttentionInputs
from .linear import project
from .positions.base import PositionBias, PositionLayer
from .stack_inputs import NeededTokens, self_attention_cache

logger = logging.get_logger(__name__)


class Attention(nn.Module):
    """Base class of self-attention and cross-attention, with their projections (Vaswani et al. 2017, section 3.2).

    The projections are linear layers for queries, keys, values and the output.

    Args:
        config: gives `d_model`, the size of a head, the numbers of query heads and of key–value heads,
            `attention_bias`, `attention_dropout` and the attention implementation. Each key–value head is shared by
            `heads / key_value_heads` query heads (Ainslie et al. 2023).
        kind: `encoder` or `decoder` for the self-attention of that stack, `cross` for cross-attention.
        layer_idx: the layer's index in the cache.
        position: the part of the position encoding that this layer owns.
        sliding_window: `config.sliding_window` if the layer has a window, else None. Only flash attention reads it; for
            the other backends, the mask contains the window.
    """

    tensor_parallel_plan: ClassVar[dict[str, str]] = {
        "q_proj": "colwise",
        "k_proj": "colwise",
        "v_proj": "colwise",
        "o_proj": "rowwise",
    }

    def __init__(
        self,
        config: LocantConfig,
        kind: AttentionKind,
        layer_idx: int,
        position: PositionLayer,
        sliding_window: int | None = None,
    ):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.sliding_window = sliding_window
        self.is_cross = kind == "cross"
        self.is_causal = kind == "decoder"  # read by flash attention, and by sdpa if the mask is None
        heads, key_value_heads = config.heads_at(kind), config.key_value_heads_at(kind)
        self.num_key_value_groups = heads // key_value_heads  # read by transformers' `sdpa_attention_forward`
        self.head_dim = config.head_dim_at(kind)
        self.scaling = self.head_dim**-0.5
        width, bias = config.d_model, config.attention_bias
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(width, key_value_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(width, key_value_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=bias)
        self.position = position

    def split_heads(self, states: torch.Tensor, tokens: NeededTokens) -> torch.Tensor:
        """Reshape `(batch, length, heads · head_dim)` to `(batch, heads, length, head_dim)`.

        If `tokens` has indices, the input is `(1, tokens, heads · head_dim)`, and the output is 0 at tokens that the
        indices leave out.
        """
        states = tokens.scatter(states)
        return states.view(*states.shape[:2], states.shape[2] // self.head_dim, self.head_dim).transpose(1, 2)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        inputs: AttentionInputs,
        bias: PositionBias | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call the attention backend that the config names, and project its output.

        Args:
            query: `(batch, heads, queries, head_dim)`.
            key, value: `(batch, key_value_heads, keys, head_dim)`.
            inputs: the result of `self_attention_inputs` or `cross_attention_inputs`; only its mask, its tokens and its
                beams are read.
            bias: the bias of the position encoding, or None.

        Returns:
            The output, in the shape of the hidden states that the layer got, and the attention weights `(batch, heads,
            queries, keys)`. The weights are None if the backend returns none; of Locant's backends, only `eager`
            returns weights.
        """
        wants_weights = kwargs.pop("output_attentions", False)
        output, weights = attention_function(self.config._attn_implementation)(
            self,
            query,
            key,
            value,
            inputs.mask,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            bias=bias,
            **kwargs,
        )
        if wants_weights and weights is None:
            logger.warning_once(
                f"The attention backend {self.config._attn_implementation} computes no attention weights, so "
                'output_attentions=True returns none: call model.set_attn_implementation("eager").'
            )
        output = project(self.o_proj, inputs.tokens.gather(output.flatten(2)))
        return inputs.unfold(output), inputs.unfold_weights(weights)


class SelfAttention(Attention):
    """Attention of a sequence to itself; causal in the decoder."""

    def forward(
        self, hidden_states: torch.Tensor, inputs: AttentionInputs, past_key_values: Cache | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute self-attention.

        Args:
            hidden_states: `(batch, queries, d_model)`, or `(1, tokens, d_model)` if `inputs.tokens` has indices.
            inputs: the result of `self_attention_inputs`, made before the new keys are added to the cache.
            past_key_values: the cache, or None. The new keys and values are added to the cache, and the queries attend
                to the keys and values in the cache.

        Returns:
            The output and the attention weights, as `Attention.attend` returns them.
        """
        query = self.split_heads(project(self.q_proj, hidden_states), inputs.tokens)
        key = self.split_heads(project(self.k_proj, hidden_states), inputs.tokens)
        value = self.split_heads(project(self.v_proj, hidden_states), inputs.tokens)
        query, key, bias = self.position(query, key, inputs.position_inputs)
        cache = self_attention_cache(past_key_values)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        return self.attend(query, key, value, inputs, bias, **kwargs)


class CrossAttention(Attention):
    """Attention of a decoder to the encoder's output. With a cache, only the first call computes keys and values.

    Several rows of the decoder may share one source, such as the beams of a sentence in `generate()`. The queries of
    these rows are joined into one row, so that a `SourceCache` holds the keys and values of each source once.
    """

    def __init__(self, config: LocantConfig, layer_idx: int, position: PositionLayer):
        super().__init__(config, "cross", layer_idx, position)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        inputs: AttentionInputs,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute cross-attention.

        Args:
            hidden_states: `(batch, queries, d_model)`, or `(1, tokens, d_model)` if `inputs.tokens` has indices.
            encoder_hidden_states: `(batch / inputs.beams, keys, d_model)`.
            inputs: the result of `cross_attention_inputs`.
            past_key_values: an `EncoderDecoderCache`, in which the first call stores the keys and values; or None.

        Returns:
            The output and the attention weights, as `Attention.attend` returns them.
        """
        query = self.split_heads(project(self.q_proj, inputs.fold(hidden_states)), inputs.tokens)
        cache = past_key_values if isinstance(past_key_values, EncoderDecoderCache) else None
        if cache is not None and cache.is_updated.get(self.layer_idx):
            layer: Any = cache.cross_attention_cache.layers[self.layer_idx]
            key, value = layer.keys.to(query.device), layer.values.to(query.device)  # an offloaded cache is on the CPU
            query, _, bias = self.position(query, None, inputs.position_inputs)
            return self.attend(query, key, value, inputs, bias, **kwargs)
        source = inputs.source_tokens.gather(encoder_hidden_states)
        key = self.split_heads(project(self.k_proj, source), inputs.source_tokens)
        value = self.split_heads(project(self.v_proj, source), inputs.source_tokens)
        query, key, bias = self.position(query, key, inputs.position_inputs)
        if cache is not None:
            key, value = cache.cross_attention_cache.update(key, value, self.layer_idx)
            cache.is_updated[self.layer_idx] = True
        return self.attend(query, key, value, inputs, bias, **kwargs)
