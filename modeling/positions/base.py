# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The contract between position encodings and attention.

An encoding can enter at four places, and overrides only the methods of the places that it uses:

1. `PositionEncoding.embed`: added to the embeddings (sinusoidal, learned);
2. `PositionLayer.query` and `key`: change queries and keys before they meet (rotary turns both);
3. `PositionLayer.score`: a term added to each attention score (T5, ALiBi, Shaw, Transformer-XL);
4. `PositionLayer.values`: a term added to each output of attention (Shaw).

1 and 2 see position ids, which count the real tokens of a sentence. 3 and 4 see distances, which a `Span` tells: in
self-attention those of slots, which padding on the left and packing do not disturb.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.compiler import is_compiling
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place


class Span(NamedTuple):
    """Where the queries and keys of one call sit in their common sequence.

    Args:
        queries, keys: how many.
        query_offset: slot of the first query; a 0-d tensor with a static cache.
        key_offset: slot of the first key; above 0 when a sliding cache has dropped the oldest.
        first_place: in a block, where its distances begin among those of the whole.
    """

    queries: int
    keys: int
    query_offset: int | torch.Tensor = 0
    key_offset: int | torch.Tensor = 0
    first_place: int = 0

    def distance(self, batch: Any, query_index: Any, key_index: Any) -> Any:
        """Slot of a key minus slot of a query; indices may be integers, scalars or broadcastable tensors."""
        return key_index - query_index + (self.key_offset - self.query_offset)

    def distances(self, device: torch.device) -> torch.Tensor:
        """Each distance that occurs, ascending: `(queries + keys - 1,)`."""
        first = self.key_offset - self.query_offset - (self.queries - 1)
        return torch.arange(self.queries + self.keys - 1, device=device) + first

    def place(self, batch: Any, query_index: Any, key_index: Any) -> Any:
        """The place of a pair's distance among `distances`."""
        return key_index - query_index + (self.queries - 1)

    def block(self, queries: slice, keys: slice) -> "Span":
        """The span of some of the queries and keys."""
        return Span(
            queries.stop - queries.start,
            keys.stop - keys.start,
            self.query_offset + queries.start,
            self.key_offset + keys.start,
            self.first_place + keys.start + self.queries - queries.stop,
        )


class PositionSpan(NamedTuple):
    """The span of two sequences, as in cross-attention: distances are those of positions, which each counts from 0.

    Args:
        query_positions: `(batch, queries)`.
        key_positions: `(batch, keys)`.
        limit: no query position is as large; a Python number.
        key_limit: nor is any key position as large as this.
        first_place: always 0, as a block may hold any distance.
    """

    query_positions: torch.Tensor
    key_positions: torch.Tensor
    limit: int
    key_limit: int
    first_place: int = 0

    @property
    def queries(self) -> int:
        """How many queries."""
        return self.query_positions.shape[1]

    @property
    def keys(self) -> int:
        """How many keys."""
        return self.key_positions.shape[1]

    def distance(self, batch: Any, query_index: Any, key_index: Any) -> Any:
        """Position of a key minus position of a query."""
        return self.key_positions[batch, key_index] - self.query_positions[batch, query_index]

    def distances(self, device: torch.device) -> torch.Tensor:
        """Each distance that may occur, ascending: `(limit + key_limit - 1,)`."""
        return torch.arange(1 - self.limit, self.key_limit, device=device)

    def place(self, batch: Any, query_index: Any, key_index: Any) -> Any:
        """The place of a pair's distance among `distances`."""
        return self.distance(batch, query_index, key_index) + (self.limit - 1)

    def block(self, queries: slice, keys: slice) -> "PositionSpan":
        """The span of some of the queries and keys."""
        return PositionSpan(self.query_positions[:, queries], self.key_positions[:, keys], self.limit, self.key_limit)


AnySpan = Span | PositionSpan


class Positions(NamedTuple):
    """What one attention knows about position in one forward pass, the same for all layers of a kind.

    Args:
        span: where queries and keys sit; None lets attention take them from its cache.
        query: what the encoding's `prepare` made of the queries' position ids.
        key: and of the new keys'.
        in_mask: the term of the scores is in the mask already, made once for all layers.
    """

    span: AnySpan | None = None
    query: Any = None
    key: Any = None
    in_mask: bool = False


def indices(batch: int, heads: int, span: AnySpan, device: torch.device) -> list[torch.Tensor]:
    """Numbers of batch, head, query and key, each along its own one of four dimensions."""
    sizes = (batch, heads, span.queries, span.keys)
    return [
        torch.arange(size, device=device).view([-1 if axis == place else 1 for axis in range(4)])
        for place, size in enumerate(sizes)
    ]


class PositionLayer(nn.Module):
    """What one attention layer does with position; parameters of its own are the layer's.

    `has_score` and `has_values` say that there is a term of the scores, of the output. `is_per_pair` says that the
    term needs a number for each pair of query and key in memory, so that no kernel can make it on the way. `in_slopes`
    says that the term is a slope of each head's times the distance, which flash attention can add by itself.
    """

    has_score = False
    has_values = False
    is_per_pair = False
    in_slopes = False

    def query(self, query: torch.Tensor, prepared: Any) -> torch.Tensor:
        """Queries before they meet the keys: `(batch, heads, queries, head_dim)` to the same shape."""
        return query

    def key(self, key: torch.Tensor, prepared: Any) -> torch.Tensor:
        """New keys on their way into the cache: `(batch, key_value_heads, keys, head_dim)` to the same shape."""
        return key

    def project(self, span: AnySpan, prepared: Any) -> Any:
        """What the layer makes of `prepared` once a call; `rows` and `score` get it instead."""
        return prepared

    def rows(self, query: torch.Tensor, span: AnySpan, prepared: Any) -> Any:
        """What `score` needs for each query of a call or a block, from the queries as they are before `query`."""
        return None

    def score(
        self, rows: Any, batch: Any, head: Any, query_index: Any, key_index: Any, span: AnySpan, prepared: Any
    ) -> torch.Tensor:
        """The term added to the score of a query and a key, before the mask and the softmax.

        One pointwise definition for every backend: the indices are scalars (flex_attention) or tensors that
        broadcast to `(batch, heads, queries, keys)`.
        """
        raise NotImplementedError

    def dense(
        self, rows: Any, batch: int, heads: int, span: AnySpan, prepared: Any, device: torch.device
    ) -> torch.Tensor:
        """`score` of all pairs, `(batch or 1, heads or 1, queries, keys)`; override it where there is a quicker way."""
        of_batch, of_head, of_query, of_key = indices(batch, heads, span, device)
        return self.score(rows, of_batch, of_head, of_query, of_key, span, prepared)

    def values(self, weights: torch.Tensor, span: AnySpan) -> torch.Tensor:
        """The term added to the output: weights `(batch, heads, queries, keys)` to
        `(batch, heads, queries, head_dim)`."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """Set the layer's own parameters, with `transformers.initialization`."""


class DistanceLayer(PositionLayer):
    """A term that depends on head and distance alone, so that a sequence needs one number for each distance."""

    has_score = True

    def term(self, head: Any, distance: Any, prepared: Any) -> torch.Tensor:
        """The term of a head and a distance (key minus query), which broadcast."""
        raise NotImplementedError

    def score(
        self, rows: Any, batch: Any, head: Any, query_index: Any, key_index: Any, span: AnySpan, prepared: Any
    ) -> torch.Tensor:
        """The term of each pair's distance."""
        return self.term(head, span.distance(batch, query_index, key_index), prepared)

    def dense(
        self, rows: Any, batch: int, heads: int, span: AnySpan, prepared: Any, device: torch.device
    ) -> torch.Tensor:
        """The terms of all distances, laid out for all pairs."""
        head = torch.arange(heads, device=device)
        if isinstance(span, PositionSpan):
            return super().dense(rows, batch, heads, span, prepared, device)
        line = self.term(head[:, None], span.distances(device)[None], prepared)
        if is_compiling():  # unfold takes the length for a constant
            _, _, query_index, key_index = indices(1, 1, span, device)
            return line[:, span.place(None, query_index[0, 0], key_index[0, 0])].unsqueeze(0)
        # a query's row is a window of the line, one place further to the left than that of the query before it
        places = torch.arange(span.queries - 1, -1, -1, device=device)
        return line.unfold(-1, span.keys, 1).index_select(-2, places).unsqueeze(0)


class PositionEncoding(nn.Module):
    """How position enters one attention; one instance a stack holds what its layers share.

    Args:
        config: the model's configuration.
        place: self-attention of the encoder or the decoder, or cross-attention, as they may differ in heads and
            in encoding.
    """

    # The term of the scores is the same in all layers, needing neither their parameters nor `rows`: it may be made once
    shares_score = False

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__()
        self.config = config
        self.place = place

    def embed(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, length: int) -> torch.Tensor:
        """Embeddings `(batch, length, d_model)` with position added, same shape.

        Args:
            hidden_states: embeddings `(batch, tokens, d_model)`.
            position_ids: `(batch or 1, tokens)`; of patches `(1, tokens, 2)`, row and column, not always whole.
            length: no position id is as large as this; a Python number, so that no device has to be asked. Of patches
                it is the rows and columns that there are.
        """
        return hidden_states

    def prepare(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> Any:
        """What all layers need for these positions, computed once a forward pass."""
        return None

    @classmethod
    def build_layer(cls, config: LocantConfig, place: Place, layer_idx: int) -> PositionLayer:
        """The part that layer number `layer_idx` owns; its flags also tell which backends can serve the encoding."""
        return PositionLayer()

    def layer(self, layer_idx: int) -> PositionLayer:
        """`build_layer` for this config and place."""
        return self.build_layer(self.config, self.place, layer_idx)

    @property
    def limit(self) -> int | None:
        """How many positions there are, where they end."""
        return None

    def fixed(self) -> dict[str, torch.Tensor]:
        """Float32 tensors that follow from the config, as buffers by name: never saved, and rounded by no cast."""
        return {}

    def register_fixed(self) -> None:
        """Make buffers of `fixed`; called at the end of an `__init__` that has some."""
        for name, values in self.fixed().items():
            self.register_buffer(name, values, persistent=False)

    def init_weights(self) -> None:
        """Set own parameters, and buffers that are not saved, with `transformers.initialization`."""
        for name, values in self.fixed().items():
            init.copy_(self.get_buffer(name), values)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "PositionEncoding":
        """Move to a device or another type, but keep what is fixed in float32: rounding would move far positions."""
        super()._apply(fn, recurse)
        for name, values in self.fixed().items():
            buffer = self.get_buffer(name)
            if buffer.dtype != torch.float32 and not buffer.is_meta:
                setattr(self, name, values.to(buffer.device))
        return self
