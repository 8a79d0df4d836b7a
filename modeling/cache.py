# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A cache layer that allocates room for later tokens, so that a step of `generate()` does not copy earlier tokens.

The copy of Locant's code that is saved with a model does not contain this file, and uses transformers' cache layers.
"""

from typing import Any

import torch
from torch.compiler import is_compiling
from transformers.cache_utils import Cache, DynamicLayer

# A layer allocates room for `_LEAST_ROOM` later tokens, or for the share `_ROOM` of the tokens so far if that is more
_LEAST_ROOM, _ROOM = 32, 1 / 4


class GrowingLayer(DynamicLayer):
    """A `DynamicLayer` with memory allocated for later tokens: a step writes the new keys and values only.

    `keys` and `values` are views of the allocated tensors. They are valid until the next `crop` or `reorder_cache`;
    `reorder_cache` may write another layer's keys or values into the same memory. With gradients enabled or in compiled
    code, keys and values are concatenated as in `DynamicLayer`.

    Args:
        spare: a list with the tensor that the next reordering writes to, empty at first. Layers that get the same list
            use its tensor in turn.
    """

    def __init__(self, spare: list[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.room: Any = None  # the allocated tensors of keys and of values
        self.spare = [] if spare is None else spare

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append new keys and values, `(batch, heads, tokens, head_dim)` each; return all keys and values."""
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
                new.new_empty(*new.shape[:2], length, new.shape[-1], dtype=kept.dtype)  # type: ignore[union-attr]
                for new, kept in ((key_states, self.keys), (value_states, self.values))
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
        """Whether `self.keys` is still a view of `room`, and `room` may be written to and can take `end` tokens."""
        keys: Any = self.keys
        is_view = keys.data_ptr() == room.data_ptr() and keys.shape[:2] == room.shape[:2]
        may_write = torch.is_inference_mode_enabled() or not room.is_inference()
        return is_view and may_write and end <= room.shape[2]

    def reorder_cache(self, beam_idx: Any) -> None:
        """Reorder the rows of keys and values as in `DynamicLayer`.

        If keys and values are views of the allocated tensors, the rows are copied into the spare tensor, and the tensor
        from which they are copied becomes the spare tensor.
        """
        end = self.get_seq_length()
        if self.room is None or end == 0 or not self._fits(self.room[0], end):
            super().reorder_cache(beam_idx)
            return
        self.room = tuple(self._reordered(room, beam_idx, end) for room in self.room)
        self.keys, self.values = (room[:, :, :end] for room in self.room)

    def _reordered(self, room: torch.Tensor, beam_idx: torch.Tensor, end: int) -> torch.Tensor:
        """Copy the first `end` tokens of the rows `beam_idx` of `room` to the spare tensor, and return this tensor.

        `room` becomes the spare tensor. If there is no spare tensor of the same shape, dtype and device, the tokens are
        copied to a new tensor.
        """
        shape = len(beam_idx), *room.shape[1:]
        found = room.new_empty(0) if not self.spare else self.spare[0]
        if (found.shape, found.dtype, found.device) != (shape, room.dtype, room.device):
            found = room.new_empty(shape)
        torch.index_select(room[:, :, :end], 0, beam_idx.to(room.device), out=found[:, :, :end])
        self.spare[:] = [room]
        return found


def make_room(cache: Cache) -> None:
    """Replace each `DynamicLayer` of an empty cache by a `GrowingLayer`.

    A cache that moves its layers to the CPU between the steps (`offloading`) is left unchanged.
    """
    if not cache.offloading:
        spare: list[torch.Tensor] = []
        cache.layers = [GrowingLayer(spare) if type(layer) is DynamicLayer else layer for layer in cache.layers]
