# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`Pooler`, which computes one vector for each row of the batch, and its two kinds of pooling."""

import torch
from torch import nn

from locant.configuration.configuration_locant import LocantConfig

from .stack_inputs import visible_keys


class Pooler(nn.Module):
    """Computes one vector for each row of the batch from the hidden states of the row's tokens.

    The vector is the mean of the hidden states (Reimers & Gurevych 2019, section 3) or the hidden state of the first
    token (Devlin et al. 2019), followed by a linear layer and tanh if `pooler_projection` is set.

    Args:
        config: the config of the model, with the fields `d_model`, `pooling` and `pooler_projection`.
    """

    def __init__(self, config: LocantConfig):
        super().__init__()
        self.pool = {"mean": mean_token, "first": first_token}[config.pooling]
        self.projection: nn.Module = nn.Identity()
        if config.pooler_projection:
            self.projection = nn.Sequential(nn.Linear(config.d_model, config.d_model), nn.Tanh())

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool hidden states `(batch, length, d_model)` to `(batch, d_model)`.

        Args:
            hidden_states: the hidden states of the last layer.
            attention_mask: the attention mask of the encoder; padding and tokens that no token sees are left out.
        """
        return self.projection(self.pool(hidden_states, visible_keys(attention_mask, hidden_states.shape[0])))


def mean_token(hidden_states: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    """Compute the mean of the hidden states of the tokens for which `seen`, `(batch or 1, length)`, is not 0.

    If `seen` is None, this is the mean over all tokens; if `seen` is 0 for all tokens of a row, the row becomes 0.
    """
    if seen is None:
        return hidden_states.mean(dim=1)
    seen = seen.to(hidden_states.device, torch.bool).unsqueeze(-1)
    dtype = torch.promote_types(hidden_states.dtype, torch.float32)  # a sum may be too large for float16
    total = hidden_states.masked_fill(~seen, 0).sum(dim=1, dtype=dtype)  # multiplying by 0 would keep NaN
    return (total / seen.sum(dim=1).clamp(min=1)).to(hidden_states.dtype)


def first_token(hidden_states: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    """Return the hidden state of the first token for which `seen` is not 0, because padding may be on the left.

    If `seen` is None, or is 0 for all tokens of a row, this is the hidden state of the token at index 0.
    """
    if seen is None:
        return hidden_states[:, 0]
    first = seen.bool().int().argmax(dim=1).expand(hidden_states.shape[0])
    return hidden_states[torch.arange(hidden_states.shape[0], device=hidden_states.device), first]
