# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A layer of a cache with room for more tokens: a step of `generate()` copies less than with those of transformers.

The code that a saved model carries does without this file.
"""

from typing import Any

import torch
from torch.compiler import is_compiling
from transformers.cache_utils import Cache, DynamicLayer

# How many more tokens than it holds a layer has room for, at least, and as a share of those
_LEAST_ROOM, _ROOM = 32, 1 / 4


class GrowingLayer(DynamicLayer):
    """A `DynamicLayer` with room for more tokens, so that a step writes its own keys and values and copies no others.

    `keys` and `values` are views of the tensors with room, valid until the next reordering, which writes into memory
    that was another layer's before. Tensors that need gradients are copied as in `DynamicLayer`.

    Args:
        spare: a tensor of the size of the layer's own, or none yet; layers that are given one list share its memory.
    """

    def __init__(self, spare: list[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.room: Any = None  # two tensors, of which keys and values are views
        self.spare = [] if spare is None else spare

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values behind the others, `(batch, heads, tokens, head_dim)` each; return all."""
        if torch.is_grad_enabled() or is_compiling():
            self.room = None
            return super().update(key_states, value_states, *args, **kwargs)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        past = self.get_seq_length()
        end = past + key_states.shape[-2]
        if self.room is None or not self._fits(self.room[0], end):
            length = end + max(_LEAST_ROOM, int(_ROOM * end))
            self.room = tuple(
                new.new_empty(*new.shape[:2], length, new.shape[-1], dtype=self.dtype)
                for new in (key_states, value_states)
            )
            if past:
                self.room[0][:, :, :past] = self.keys
                self.room[1][:, :, :past] = self.values
        keys, values = self.room
        keys[:, :, past:end] = key_states
        values[:, :, past:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def _fits(self, room: torch.Tensor, end: int) -> bool:
        """Whether `keys` are a view of `room` still, which has place for `end` tokens."""
        keys: Any = self.keys
        is_view = keys.data_ptr() == room.data_ptr() and keys.shape[:2] == room.shape[:2]
        return is_view and end <= room.shape[2]

    def reorder_cache(self, beam_idx: Any) -> None:
        """As in `DynamicLayer`, into memory that is there already."""
        end = self.get_seq_length()
        if self.room is None or end == 0 or not self._fits(self.room[0], end):
            super().reorder_cache(beam_idx)
            return
        self.room = tuple(self._reordered(room, beam_idx, end) for room in self.room)
        self.keys, self.values = (room[:, :, :end] for room in self.room)

    def _reordered(self, room: torch.Tensor, beam_idx: torch.Tensor, end: int) -> torch.Tensor:
        """The first `end` tokens in another order of rows, in the spare tensor, and `room` as the spare one."""
        shape = len(beam_idx), *room.shape[1:]
        found = room.new_empty(0) if not self.spare else self.spare[0]
        if (found.shape, found.dtype, found.device) != (shape, room.dtype, room.device):
            found = room.new_empty(shape)
        torch.index_select(room[:, :, :end], 0, beam_idx.to(room.device), out=found[:, :, :end])
        self.spare[:] = [room]
        return found


def make_room(cache: Cache) -> None:
    """Replace the `DynamicLayer`s of an empty cache by `GrowingLayer`s; layers that are offloaded stay."""
    if not cache.offloading:
        spare: list[torch.Tensor] = []
        cache.layers = [GrowingLayer(spare) if type(layer) is DynamicLayer else layer for layer in cache.layers]
