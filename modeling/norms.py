# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Norms, and where they stand around a sublayer."""

from collections.abc import Callable

import torch
from torch import nn

from locant.configuration.configuration_locant import LocantConfig

_NORMS = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}


def build_norm(config: LocantConfig) -> nn.Module:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) over the last dimension."""
    return _NORMS[config.norm_type](config.d_model, eps=config.norm_eps)


class PostNorm(nn.Module):
    """norm(x + dropout(f(x))) (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, config: LocantConfig):
        super().__init__()
        self.norm = build_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_states: torch.Tensor, sublayer: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """`(…, d_model)` to the same shape."""
        return self.norm(hidden_states + self.dropout(sublayer(hidden_states)))


class PreNorm(PostNorm):
    """x + dropout(f(norm(x))) (Xiong et al. 2020, table 1)."""

    def forward(self, hidden_states: torch.Tensor, sublayer: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """`(…, d_model)` to the same shape."""
        return hidden_states + self.dropout(sublayer(self.norm(hidden_states)))


def build_residual(config: LocantConfig) -> PostNorm:
    """What stands around each sublayer: residual sum, dropout, and the norm at its place."""
    return (PreNorm if config.norm_position == "pre" else PostNorm)(config)


def build_final_norm(config: LocantConfig) -> nn.Module:
    """The norm at the end of a stack: with pre-norm nothing else would bound the residual sum."""
    return build_norm(config) if config.norm_position == "pre" else nn.Identity()
