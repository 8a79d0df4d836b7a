# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Transformer layer, one class for encoder and decoder."""

from typing import Any, Literal

import torch
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from locant.configuration.configuration_locant import LocantConfig

from .attention import Attention
from .feed_forward import build_feed_forward
from .norms import build_residual
from .positions.base import PositionLayer
from .views import View


class TransformerLayer(GradientCheckpointingLayer):
    """Self-attention, cross-attention in a decoder that has an encoder, feed-forward.

    Args:
        config: the model's configuration.
        stack: `encoder` or `decoder`, for the numbers that differ between them.
        layer_idx: its place in the stack, and in the cache.
        position: how position enters its self-attention.
        cross_position: and its cross-attention; None for a layer without.
    """

    def __init__(
        self,
        config: LocantConfig,
        stack: Literal["encoder", "decoder"],
        layer_idx: int,
        position: PositionLayer,
        cross_position: PositionLayer | None = None,
    ):
        super().__init__()
        heads = {
            "num_heads": getattr(config, f"{stack}_attention_heads"),
            "num_key_value_heads": getattr(config, f"{stack}_key_value_heads"),
            "head_dim": config.head_dim,
            "layer_idx": layer_idx,
        }
        slides = config.layer_types_of(stack)[layer_idx] == "sliding_attention"
        window = config.sliding_window if slides else None
        is_causal = stack == "decoder"
        self.self_attn = Attention(config, is_causal=is_causal, position=position, sliding_window=window, **heads)
        self.self_attn_residual = build_residual(config)
        self.cross_attn: Attention | None = None
        if cross_position is not None:
            self.cross_attn = Attention(config, position=cross_position, **heads)
            self.cross_attn_residual = build_residual(config)
        self.ffn = build_feed_forward(config, getattr(config, f"{stack}_ffn_dim"))
        self.ffn_residual = build_residual(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        view: View = View(),  # noqa: B008 (a tuple)
        cross_view: View = View(),  # noqa: B008
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """`(batch, length, d_model)` to the same shape.

        The two hidden states come first, as gradient checkpointing takes only positional tensors.
        """

        def attend(states: torch.Tensor) -> torch.Tensor:
            return self.self_attn(states, *view, past_key_values=past_key_values, **kwargs)[0]

        def attend_across(states: torch.Tensor) -> torch.Tensor:
            assert self.cross_attn is not None
            return self.cross_attn(
                states,
                *cross_view,
                encoder_hidden_states=encoder_hidden_states,
                past_key_values=past_key_values,
                **kwargs,
            )[0]

        def feed(states: torch.Tensor) -> torch.Tensor:  # no module: accelerate moves those among the arguments
            return self.ffn(states)

        hidden_states = self.self_attn_residual(hidden_states, attend)
        if self.cross_attn is not None and encoder_hidden_states is not None:
            hidden_states = self.cross_attn_residual(hidden_states, attend_across)
        return self.ffn_residual(hidden_states, feed)
