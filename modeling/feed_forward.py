# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Position-wise feed-forward layers."""

import torch
from torch import nn
from transformers.activations import ACT2FN

from locant.configuration.configuration_locant import LocantConfig


class FeedForward(nn.Module):
    """W_down · dropout(f(W_up · x)) (Vaswani et al. 2017, equation 2).

    Args:
        config: uses `d_model`, `activation_function`, `activation_dropout` and `ffn_bias`.
        inner_dim: width in between.
    """

    def __init__(self, config: LocantConfig, inner_dim: int):
        super().__init__()
        self.up_proj = nn.Linear(config.d_model, inner_dim, bias=config.ffn_bias)
        self.down_proj = nn.Linear(inner_dim, config.d_model, bias=config.ffn_bias)
        self.activation = ACT2FN[config.activation_function]
        self.dropout = nn.Dropout(config.activation_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(…, d_model)` to the same shape, each position by itself."""
        return self.down_proj(self.dropout(self.activation(self.up_proj(hidden_states))))


class GatedFeedForward(FeedForward):
    """W_down · dropout(f(W_gate · x) * (W_up · x)) (Shazeer 2020, section 2)."""

    def __init__(self, config: LocantConfig, inner_dim: int):
        super().__init__(config, inner_dim)
        self.gate_proj = nn.Linear(config.d_model, inner_dim, bias=config.ffn_bias)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(…, d_model)` to the same shape, each position by itself."""
        gate = self.activation(self.gate_proj(hidden_states))
        return self.down_proj(self.dropout(gate * self.up_proj(hidden_states)))


def build_feed_forward(config: LocantConfig, inner_dim: int) -> FeedForward:
    """The feed-forward layer that `config.gated_ffn` names."""
    return (GatedFeedForward if config.gated_ffn else FeedForward)(config, inner_dim)
