# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What the queries of an attention see: the mask and the positions, made once for all layers of a kind."""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.compiler import is_compiling
from transformers.cache_utils import Cache

from locant.configuration.configuration_locant import LocantConfig

from .attention import Attention
from .masks import Documents, Mask, add_to_mask, build_mask, build_position_ids
from .offloading import at_hand
from .positions.base import PositionEncoding, Positions, PositionSpan, Span

# Backends that take the term of the scores as a matrix
_DENSE = ("eager", "sdpa")


class View(NamedTuple):
    """What the queries of one attention see.

    Args:
        mask: as the backend takes it; None where all see all.
        positions: where queries and keys sit, and what the encoding prepared.
    """

    mask: Mask | None = None
    positions: Positions | None = None


class Tokens(NamedTuple):
    """The tokens of one sequence that a forward pass works on, and what was said about them.

    Args:
        hidden_states: `(batch, length, d_model)`.
        attention_mask: `(batch, past + length)` with 0 at padding, or of four dimensions, as `build_mask` takes it.
        document_ids: `(batch, past + length)`, or None for one document.
        position_ids: `(batch or 1, length)`; of patches `(1, length, 2)`, row and column.
        limit: no position id is as large; of patches the rows and columns that there are.
    """

    hidden_states: torch.Tensor
    attention_mask: torch.Tensor | None
    document_ids: torch.Tensor | None
    position_ids: torch.Tensor
    limit: Any


def view_of_self(
    attention: Attention, encoding: PositionEncoding, tokens: Tokens, span: Span, cache: Cache | None, share: bool
) -> View:
    """What tokens see of their own sequence, from the slots of `span`, in attentions like `attention`.

    With `share`, the term of the scores is made here where all layers have the same.
    """
    config, documents = attention.config, None
    if tokens.document_ids is not None:
        # the empty slots of a static cache are of no document
        missing = max(0, span.keys - tokens.document_ids.shape[1])
        documents = Documents(tokens.document_ids, nn.functional.pad(tokens.document_ids, (0, missing), value=-1))
    share = share and _shares_matrix(config, encoding)
    mask = build_mask(
        config,
        tokens.hidden_states,
        span,
        tokens.attention_mask,
        is_causal=attention.is_causal,
        window=attention.sliding_window,
        documents=documents,
        cache=cache,
        always=share,
    )
    with at_hand(encoding):
        prepared = encoding.prepare(tokens.hidden_states, tokens.position_ids)
    view = View(mask, Positions(span, prepared, prepared))
    return _with_term(view, attention, tokens.hidden_states) if share else view


def view_across(
    attention: Attention,
    encoding: PositionEncoding,
    tokens: Tokens,
    source: Tokens,
    past_length: int | torch.Tensor,
    share: bool,
) -> View:
    """What tokens, the first of them in slot `past_length`, see of another sequence; `share` as above.

    Raises:
        ValueError: document ids are given for one of the sequences only.
    """
    config, batch = attention.config, tokens.hidden_states.shape[0]
    mask = build_mask(
        config,
        tokens.hidden_states,
        Span(tokens.hidden_states.shape[1], source.hidden_states.shape[1], past_length),
        source.attention_mask,
        documents=_both(tokens.document_ids, source.document_ids),
    )
    with at_hand(encoding):
        positions = Positions(
            PositionSpan(
                tokens.position_ids.expand(batch, -1), source.position_ids.expand(batch, -1), tokens.limit, source.limit
            ),
            encoding.prepare(tokens.hidden_states, tokens.position_ids),
            encoding.prepare(source.hidden_states, source.position_ids),
        )
    view = View(mask, positions)
    return _with_term(view, attention, tokens.hidden_states) if share and _shares_matrix(config, encoding) else view


def number_tokens(
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    document_ids: torch.Tensor | None,
    cache: Cache | None = None,
    longest: int = 0,
) -> Tokens:
    """Tokens with their positions: those given, or else counted from 0 in each sentence and document.

    Compiled code cannot look at positions that are given: it takes them to be below `longest`.

    Raises:
        ValueError: fewer document ids than tokens, or a mask of another size.
    """
    if document_ids is not None:
        document_ids = document_ids.expand(hidden_states.shape[0], -1)
    length, past_length = hidden_states.shape[1], cache.get_seq_length() if cache is not None else 0
    if isinstance(past_length, torch.Tensor):
        assert cache is not None
        limit = cache.get_max_length()
    else:
        limit = past_length + length
        if document_ids is not None and document_ids.shape[1] < limit:
            raise ValueError(
                f"document_ids are {document_ids.shape[1]} numbers a sequence, but with those in the cache there are "
                f"{limit} tokens: give the documents of all of them."
            )
    if attention_mask is not None and attention_mask.ndim == 2 and not isinstance(past_length, torch.Tensor):
        _check_size(attention_mask, hidden_states.shape[0], limit)
    if position_ids is None:
        position_ids = build_position_ids(attention_mask, past_length, length, hidden_states.device, document_ids)
    else:
        limit = max(limit, longest) if is_compiling() else int(position_ids.max()) + 1
    return Tokens(hidden_states, attention_mask, document_ids, position_ids, limit)


def _check_size(attention_mask: torch.Tensor, batch: int, slots: int) -> None:
    if attention_mask.shape[0] != batch or attention_mask.shape[1] < slots:
        raise ValueError(
            f"attention_mask has the shape {tuple(attention_mask.shape)}, but there are {batch} sequences of {slots} "
            f"tokens, with those in the cache: give a number for each of them."
        )


def _shares_matrix(config: LocantConfig, encoding: PositionEncoding) -> bool:
    return encoding.shares_score and config._attn_implementation in _DENSE


def _with_term(view: View, attention: Attention, hidden_states: torch.Tensor) -> View:
    """With the term of the scores in the mask, as one matrix."""
    assert view.positions is not None and view.positions.span is not None
    layer, span = attention.position, view.positions.span
    prepared = layer.project(span, view.positions.query)
    heads = attention.num_key_value_heads * attention.num_key_value_groups
    term = layer.dense(None, hidden_states.shape[0], heads, span, prepared, hidden_states.device)
    return View(add_to_mask(view.mask, term.to(hidden_states.dtype)), view.positions._replace(in_mask=True))


def _both(own: torch.Tensor | None, others: torch.Tensor | None) -> Documents | None:
    if own is None and others is None:
        return None
    if own is None or others is None:
        given, missing = ("the encoder's", "the decoder's") if own is None else ("the decoder's", "the encoder's")
        raise ValueError(f"document_ids are given for {given} tokens only: give {missing} too.")
    return Documents(own, others)
