# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Who may see whom, and which position each token has."""

import torch
from torch.nn.attention.flex_attention import BlockMask
from transformers.cache_utils import Cache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from locant.configuration.configuration_locant import LocantConfig

Mask = torch.Tensor | BlockMask


def build_mask(
    config: LocantConfig,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    is_causal: bool = False,
    cache: Cache | None = None,
    encoder_hidden_states: torch.Tensor | None = None,
) -> Mask | None:
    """The mask of one attention, in the form that the configured backend takes; None where all see all.

    Args:
        config: names the backend.
        hidden_states: the queries' `(batch, queries, d_model)`.
        attention_mask: `(batch, keys)` with 0 at padding; or `(batch, 1 or heads, queries, keys)`, boolean or whole
            numbers with 0 where a key is not seen, or floating and then added to the scores; or None.
        is_causal: no query sees a later key.
        cache: holds the earlier keys.
        encoder_hidden_states: the other sequence, in cross-attention.
    """
    if attention_mask is not None and attention_mask.ndim == 4 and not attention_mask.is_floating_point():
        return _for_backend(config, attention_mask.bool(), hidden_states.dtype)
    if is_causal:
        return create_causal_mask(config, hidden_states, attention_mask, past_key_values=cache)
    return create_bidirectional_mask(config, hidden_states, attention_mask, encoder_hidden_states=encoder_hidden_states)


def _for_backend(config: LocantConfig, visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A caller's own mask, True where a key is seen: all backends but sdpa add a mask to the scores."""
    if config._attn_implementation == "sdpa":
        return visible
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def build_position_ids(
    attention_mask: torch.Tensor | None, past_length: int | torch.Tensor, length: int, device: torch.device
) -> torch.Tensor:
    """Number the real tokens of each sentence from 0.

    Args:
        attention_mask: `(batch, past + length)` with 0 at padding on either side; anything else is ignored.
        past_length: number of slots before the first token.
        length: number of tokens to number.

    Returns:
        `(batch, length)` where a mask tells, else `(1, length)`. Padding gets the number of its neighbour.
    """
    if attention_mask is not None and attention_mask.ndim == 2:
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:].to(device)
    return (torch.arange(length, device=device) + past_length).unsqueeze(0)
