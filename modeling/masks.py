# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Who may see whom, and which position each token has.

Patterns and masks are those of transformers' `masking_utils`, by backend. Where a backend has none there, it registers
one beside itself (`attention_backends`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.compiler import is_compiling
from torch.nn.attention.flex_attention import BlockMask
from transformers.cache_utils import Cache
from transformers.masking_utils import (
    ALL_MASK_ATTENTION_FUNCTIONS,
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    sliding_window_bidirectional_overlay,
    sliding_window_overlay,
)

from locant.configuration.configuration_locant import LocantConfig

from .positions.base import Span


class FlexMask(NamedTuple):
    """flex_attention's mask, and what a caller's own adds to the scores.

    Args:
        block_mask: whom each query may see.
        added: `(batch or 1, heads or 1, queries, keys)`.
    """

    block_mask: BlockMask
    added: torch.Tensor


Mask = Any  # what the backend takes: a tensor, a BlockMask, a FlexMask, a BlockwiseMask


class Documents(NamedTuple):
    """Which document each token of a packed sequence is of; no token sees another document's.

    Args:
        queries: `(batch, slots)`, by the slot of a query, those in the cache included.
        keys: `(batch, slots)`, by the slot of a key.
    """

    queries: torch.Tensor
    keys: torch.Tensor

    def pattern(self, batch: Any, head: Any, query_slot: Any, key_slot: Any) -> torch.Tensor:
        """Whether two slots are of one document."""
        return self.queries[batch, query_slot] == self.keys[batch, key_slot]


def build_mask(
    config: LocantConfig,
    hidden_states: torch.Tensor,
    span: Span,
    attention_mask: torch.Tensor | BlockMask | None = None,
    *,
    is_causal: bool = False,
    window: int | None = None,
    documents: Documents | None = None,
    cache: Cache | None = None,
    always: bool = False,
) -> Mask | None:
    """The mask of one attention, in the form that the configured backend takes; None where all see all.

    Args:
        config: names the backend.
        hidden_states: the queries' `(batch, queries, d_model)`.
        span: the slots of queries and keys.
        attention_mask: `(batch, slots)` with 0 at padding; or one of the caller's own for all keys,
            `(batch or 1, 1 or heads, queries, slots)`, boolean or whole numbers with 0 where a key is not seen, or
            floating and then added to the scores; or None. Causality, window and documents hold on top of it.
        is_causal: no query sees a later key.
        window: how far a query sees, as `config.sliding_window`.
        documents: whose keys a query sees.
        cache: holds the earlier keys.
        always: no None where the backend would see to causality by itself.

    Raises:
        ValueError: the backend cannot do with this mask.
    """
    if isinstance(attention_mask, BlockMask):
        return attention_mask
    own, padding = _own_or_padding(attention_mask, hidden_states)
    backend = config._attn_implementation or "eager"
    _check_flash(backend, own, documents)
    if is_flash(backend) and cache is not None:
        padding = _without_empty_slots(padding, span, hidden_states)
    compiled_step = getattr(cache, "is_compileable", False) and span.queries == 1
    structure = ALL_MASK_ATTENTION_FUNCTIONS[backend](
        batch_size=hidden_states.shape[0],
        q_length=span.queries,
        kv_length=span.keys,
        q_offset=span.query_offset,
        kv_offset=span.key_offset,
        mask_function=_pattern(is_causal, window, documents),
        attention_mask=padding,
        local_size=window,
        allow_is_causal_skip=is_causal and documents is None and own is None and not always and not compiled_step,
        allow_is_bidirectional_skip=not is_causal and documents is None,
        dtype=hidden_states.dtype,
        device=hidden_states.device,
        config=config,
        is_causal=is_causal,
        window=window,
    )
    return structure if own is None else _with_own(structure, _keys_of(own, span, cache), hidden_states.dtype)


def _own_or_padding(
    attention_mask: torch.Tensor | None, hidden_states: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A caller's mask of four dimensions, boolean or to be added to scores of this type; or where padding is not."""
    if attention_mask is None:
        return None, None
    if attention_mask.ndim == 2:
        return None, attention_mask.to(hidden_states.device, torch.bool)
    if attention_mask.ndim != 4:
        raise ValueError(
            f"attention_mask has the shape {tuple(attention_mask.shape)}: give (batch, tokens), or (batch, heads or 1, "
            f"queries, keys)."
        )
    own = attention_mask.to(hidden_states.device)
    if not own.is_floating_point():
        return own.bool(), None
    dtype = hidden_states.dtype
    return own.to(dtype).clamp(min=torch.finfo(dtype).min), None  # minus infinity in a whole row would be no number


def _pattern(is_causal: bool, window: int | None, documents: Documents | None) -> Callable[..., torch.Tensor]:
    """Whether a query's slot may see a key's: pointwise, for indices that broadcast or scalars."""
    patterns: list[Callable[..., Any]] = [causal_mask_function if is_causal else bidirectional_mask_function]
    if window is not None:
        patterns.append((sliding_window_overlay if is_causal else sliding_window_bidirectional_overlay)(window))
    if documents is not None:
        patterns.append(documents.pattern)
    return and_masks(*patterns) if len(patterns) > 1 else patterns[0]


def is_flash(backend: str) -> bool:
    """Whether a backend is flash attention, or a kernel from the Hub that stands for it."""
    return "flash" in backend


def _check_flash(backend: str, own: torch.Tensor | None, documents: Documents | None) -> None:
    if not is_flash(backend) or (own is None and documents is None):
        return
    given = "a mask of four dimensions" if own is not None else "document ids"
    raise ValueError(
        f"{backend} takes padding and causality only, but got {given}: set_attn_implementation to sdpa, blockwise or "
        f"flex_attention."
    )


def _without_empty_slots(padding: torch.Tensor | None, span: Span, hidden_states: torch.Tensor) -> torch.Tensor | None:
    """Flash attention's mask for a cache that is not full: it ends with the last query."""
    filled = int(span.query_offset) + span.queries - int(span.key_offset)
    if span.keys <= filled:
        return padding
    if padding is None:
        return torch.ones(hidden_states.shape[0], filled, dtype=torch.bool, device=hidden_states.device)
    return padding[:, :filled]


def _keys_of(own: torch.Tensor, span: Span, cache: Cache | None) -> torch.Tensor:
    """A caller's mask for the keys that the cache holds: without those it dropped, and with its empty slots unseen."""
    seen = span.keys if cache is None else span.query_offset + span.queries
    if own.shape[2] not in (1, span.queries) or (isinstance(seen, int) and own.shape[3] < seen):
        raise ValueError(
            f"The attention mask of four dimensions is for {own.shape[2]} queries and {own.shape[3]} keys, but there "
            f"are {span.queries} and, with those in the cache, {seen}: give one for all of them."
        )
    if isinstance(span.key_offset, int) and span.key_offset:
        own = own[..., span.key_offset :]
    if own.shape[-1] < span.keys:
        unseen = torch.finfo(own.dtype).min if own.is_floating_point() else 0
        own = torch.nn.functional.pad(own, (0, span.keys - own.shape[-1]), value=unseen)
    return own[..., : span.keys]


def _with_own(structure: Mask | None, own: torch.Tensor, dtype: torch.dtype) -> Mask:
    """Both masks in one, in the form of `structure`."""
    if structure is None or isinstance(structure, BlockMask):
        added = own if own.is_floating_point() else additive(own, dtype)
        return added if structure is None else FlexMask(structure, added)
    if not isinstance(structure, torch.Tensor):
        return structure.with_own(own)
    unseen = torch.finfo(dtype).min
    if own.is_floating_point():
        seen = structure if structure.dtype == torch.bool else structure == 0
        return torch.where(seen, own, unseen)
    return structure & own if structure.dtype == torch.bool else structure.masked_fill(~own, unseen)


def additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """True where a key is seen, to what is added to the scores."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def add_to_mask(mask: torch.Tensor | None, term: torch.Tensor) -> torch.Tensor:
    """A mask, boolean or additive or None for all, with a term of the scores where a key is seen."""
    if mask is None:
        return term
    if mask.dtype == torch.bool:
        return torch.where(mask, term, torch.finfo(term.dtype).min)
    return (mask + term).clamp(min=torch.finfo(term.dtype).min)


def visible_keys(attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """The keys of an encoder's mask that cross-attention sees: of four dimensions, those that any token sees.

    `(batch, keys)` or `(batch, 1 or heads, queries, keys)` to `(batch, keys)`.
    """
    if attention_mask is None or attention_mask.ndim != 4:
        return attention_mask
    if attention_mask.is_floating_point():
        attention_mask = attention_mask > torch.finfo(attention_mask.dtype).min
    return attention_mask.bool().any(dim=(1, 2))


def build_position_ids(
    attention_mask: torch.Tensor | None,
    past_length: int | torch.Tensor,
    length: int,
    device: torch.device,
    document_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Number the real tokens of each sentence, or of each document, from 0.

    Args:
        attention_mask: `(batch, slots)` with 0 at padding on either side; anything else is ignored.
        past_length: number of slots before the first token.
        length: number of tokens to number.
        document_ids: `(batch, slots)`, one document after the other: positions begin anew where the number changes.

    Returns:
        `(batch, length)` where a mask or documents tell, else `(1, length)`. Padding gets the number of its neighbour.
    """
    slots = torch.arange(length, device=device) + past_length
    real = attention_mask if attention_mask is not None and attention_mask.ndim == 2 else None
    if real is None and document_ids is None:
        return slots.unsqueeze(0)
    tokens = torch.ones_like(document_ids) if real is None and document_ids is not None else real
    assert tokens is not None
    count = tokens.to(device).long().cumsum(-1)
    if document_ids is not None:
        starts = torch.nn.functional.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0), value=True)
        before = torch.nn.functional.pad(count[:, :-1], (1, 0))  # tokens before each slot
        count = count - torch.where(starts, before, 0).cummax(-1).values
    return (count - 1).clamp(min=0)[:, slots]


def documents_of_positions(position_ids: torch.Tensor | None) -> torch.Tensor | None:
    """The documents of a packed sequence whose positions begin anew in each, as collators without padding give them.

    `(batch or 1, length)` to the same shape; None where nothing begins anew, or in compiled code, which cannot look.
    Positions that leave some out begin nothing.
    """
    if position_ids is None or is_compiling():
        return None
    begins = position_ids[:, 1:] <= position_ids[:, :-1]
    return torch.nn.functional.pad(begins, (1, 0)).cumsum(-1) if begins.any() else None
