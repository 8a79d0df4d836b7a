# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The contract between position encodings and attention.

An encoding can enter at four places, and overrides only the methods of the places that it uses:

1. `PositionEncoding.embed`: added to the embeddings (sinusoidal, learned);
2. `PositionLayer.query` and `key`: change queries and keys before they meet (rotary turns both);
3. `PositionLayer.score`: a term added to each attention score (T5, ALiBi, Shaw, Transformer-XL);
4. `PositionLayer.values`: a term added to each output of attention (Shaw).

Only 1 and 2 see position ids, which count the real tokens of a sentence. 3 and 4 see the distance of two
slots, so padding on the left and packing do not disturb them.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from locant.configuration.configuration_locant import LocantConfig

Stack = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Span:
    """Where the queries and keys of one call sit in the sequence.

    Args:
        query_offset: slot of the first query; a 0-d tensor with a static cache.
        key_offset: slot of the first key; above 0 when a sliding cache has dropped the oldest.
    """

    query_offset: int | torch.Tensor = 0
    key_offset: int | torch.Tensor = 0

    def distance(self, query_index: Any, key_index: Any) -> Any:
        """Slot of a key minus slot of a query; both may be integers, scalars or broadcastable tensors."""
        return key_index + self.key_offset - query_index - self.query_offset


class Positions(NamedTuple):
    """What one forward pass knows about position, the same for all layers of a stack.

    Args:
        query_offset: slot of the first query; where the keys begin each layer's cache knows.
        query: what the encoding's `prepare` made of the queries' position ids.
        key: and of the new keys'.
    """

    query_offset: int | torch.Tensor = 0
    query: Any = None
    key: Any = None


class PositionLayer(nn.Module):
    """What one attention layer does with position; parameters of its own are the layer's."""

    has_score = False
    has_values = False

    def query(self, query: torch.Tensor, prepared: Any) -> torch.Tensor:
        """Queries before they meet the keys: `(batch, heads, queries, head_dim)` to the same shape."""
        return query

    def key(self, key: torch.Tensor, prepared: Any) -> torch.Tensor:
        """New keys on their way into the cache: `(batch, key_value_heads, keys, head_dim)` to the same shape."""
        return key

    def rows(self, query: torch.Tensor, prepared: Any) -> Any:
        """What `score` needs for each query, computed once a call from the queries as they are before `query`."""
        return None

    def score(
        self, rows: Any, batch: Any, head: Any, query_index: Any, key_index: Any, span: Span, prepared: Any
    ) -> torch.Tensor:
        """The term added to the score of a query and a key, before the mask and the softmax.

        One pointwise definition for every backend: the indices are scalars (flex_attention) or tensors that
        broadcast to `(batch, heads, queries, keys)`.
        """
        raise NotImplementedError

    def values(self, weights: torch.Tensor, query_index: Any, key_index: Any, span: Span) -> torch.Tensor:
        """The term added to the output: weights `(batch, heads, queries, keys)` to
        `(batch, heads, queries, head_dim)`."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """Set the layer's own parameters, with `transformers.initialization`."""


class PositionEncoding(nn.Module):
    """How position enters one stack; one instance a stack holds what its layers share.

    Args:
        config: the model's configuration.
        stack: which stack this is for, as the two may differ in heads and in encoding.
    """

    def __init__(self, config: LocantConfig, stack: Stack = "encoder"):
        super().__init__()

    def embed(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, length: int) -> torch.Tensor:
        """Embeddings `(batch, length, d_model)` with position added, same shape.

        Args:
            hidden_states: embeddings `(batch, tokens, d_model)`.
            position_ids: `(batch or 1, tokens)`.
            length: no position id is as large as this; a Python number, so that no device has to be asked.
        """
        return hidden_states

    def prepare(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> Any:
        """What all layers of the stack need for these positions, computed once a forward pass."""
        return None

    def layer(self, layer_idx: int) -> PositionLayer:
        """The part that layer number `layer_idx` owns."""
        return PositionLayer()

    @property
    def limit(self) -> int | None:
        """How many positions there are, where they end."""
        return None

    def init_weights(self) -> None:
        """Set own parameters, and buffers that are not saved, with `transformers.initialization`."""
