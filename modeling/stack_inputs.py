# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The inputs of a stack of layers.

`StackInputs` holds the hidden states that the encoder, the decoder or cross-attention reads, with their mask, document
ids and position ids; `NeededTokens` selects the tokens that the layers compute.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch.compiler import is_compiling
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

# Leaving out a smaller share of the tokens costs more time than it saves
_LEAST_LEFT_OUT = 1 / 16


class NeededTokens(NamedTuple):
    """The tokens of a batch that the layers compute, if the loss depends on some of the tokens only.

    Attention itself works on the whole batch, with projected queries, keys and values of 0 for the tokens that are
    left out.

    Args:
        indices: `(tokens,)`, the indices of the computed tokens in the flattened batch; None for all tokens.
        batch, length: the shape of the batch.
    """

    indices: torch.Tensor | None = None
    batch: int = 0
    length: int = 0

    def gather(self, states: torch.Tensor) -> torch.Tensor:
        """Select the tokens of `(batch, length, width)` as `(1, tokens, width)`; without indices, return `states`."""
        return states if self.indices is None else states.flatten(0, 1).index_select(0, self.indices).unsqueeze(0)

    def scatter(self, states: torch.Tensor) -> torch.Tensor:
        """Undo `gather`: `(1, tokens, width)` to `(batch, length, width)`, with 0 at all tokens that were left out."""
        if self.indices is None:
            return states
        padded = states.new_zeros(self.batch * self.length, states.shape[-1])
        return padded.index_copy(0, self.indices, states.squeeze(0)).unflatten(0, (self.batch, self.length))

    @classmethod
    def of(cls, mask: torch.Tensor | None, hidden_states: torch.Tensor) -> "NeededTokens":
        """Select the tokens where the mask `(batch, length)` is not 0.

        All tokens are selected if the mask leaves out a share below `_LEAST_LEFT_OUT`, is None, is 0 everywhere or has
        another shape; under a transform of torch.func; and in compiled code, whose shapes must not depend on the values
        of the mask.
        """
        if mask is None or mask.shape != hidden_states.shape[:2] or is_compiling():
            return cls()
        if torch._C._are_functorch_transforms_active():
            return cls()
        indices = mask.to(hidden_states.device).flatten().nonzero().squeeze(1)
        is_worth_it = 0 < len(indices) <= (1 - _LEAST_LEFT_OUT) * mask.numel()
        return cls(indices, *mask.shape) if is_worth_it else cls()


class StackInputs(NamedTuple):
    """The inputs of a stack, or the source of cross-attention: hidden states, mask, document ids and position ids.

    Args:
        hidden_states: `(batch, length, d_model)`: embeddings, or the encoder's output, which cross-attention reads.
            Embeddings have no position until `run_layers` adds it. The code that makes masks and indices reads only
            their shape, dtype and device.
        attention_mask: `(batch, past + length)` with 0 at padding, or of four dimensions, as `build_mask` takes it.
        document_ids: `(batch, past + length)`; None if each row is one document.
        position_ids: `(batch or 1, length)`; for image patches `(1, length, 2)`, with row and column.
        position_bound: exclusive upper bound of the position ids, to which sinusoidal encodings extend their table;
            None if it was not computed. For image patches, the numbers of rows and columns.
        given_position_ids: the position ids that the caller gave: `(batch or 1, length)`, or `(batch or 1, past +
            length)` with the positions of the cached tokens. None if positions are counted from the mask; in
            self-attention, the distance between a query and a key is then the difference of their slots.
        tokens: the tokens that the layers compute.
    """

    hidden_states: torch.Tensor
    attention_mask: torch.Tensor | None
    document_ids: torch.Tensor | None
    position_ids: torch.Tensor
    position_bound: Any
    given_position_ids: torch.Tensor | None = None
    tokens: NeededTokens = NeededTokens()

    def on(self, device: torch.device) -> "StackInputs":
        """Return a copy with mask, document ids and position ids on `device`; the hidden states stay where they are."""
        names = ("attention_mask", "document_ids", "position_ids", "given_position_ids")
        given = {name: getattr(self, name) for name in names}
        return self._replace(**{name: value.to(device) for name, value in given.items() if value is not None})


def as_encoder_output(given: ModelOutput | Sequence[Any]) -> BaseModelOutput:
    """Convert the output of any encoder to a `BaseModelOutput`.

    Hidden states of the layers and attentions are kept if the output has them. A pooled vector is left out. A tuple or
    list is read in the order of `BaseModelOutput`: last hidden states, hidden states of the layers, attentions.

    Raises:
        ValueError: `given` is neither a `ModelOutput` nor a tuple or list, or does not begin with a tensor.
    """
    if type(given) is BaseModelOutput and isinstance(given.last_hidden_state, torch.Tensor):
        return given
    is_sequence = isinstance(given, ModelOutput | tuple | list) and len(given) > 0
    if not is_sequence or not isinstance(given[0], torch.Tensor):
        raise ValueError(
            f"encoder_outputs is a {type(given).__name__}: give the output of an encoder, or a tuple or list that "
            f"begins with hidden states."
        )
    if isinstance(given, ModelOutput):
        return BaseModelOutput(given[0], given.get("hidden_states"), given.get("attentions"))
    return BaseModelOutput(given[0], *[part for part in given[1:] if not isinstance(part, torch.Tensor)][:2])


def self_attention_cache(past_key_values: Cache | None) -> Cache | None:
    """The self-attention cache of an `EncoderDecoderCache`; any other cache, or None, is returned as it is."""
    return past_key_values.self_attention_cache if isinstance(past_key_values, EncoderDecoderCache) else past_key_values


def prepare_stack_inputs(
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    document_ids: torch.Tensor | None,
    cache: Cache | None = None,
    max_position_embeddings: int | None = None,
    may_be_packed: bool = False,
) -> StackInputs:
    """Check the inputs, and bundle them with position ids: the given ids, or ids counted from 0 in each document.

    Args:
        hidden_states, attention_mask: as in `StackInputs`.
        document_ids: `(batch or 1, past + length)`; None if each row is one document.
        position_ids: the position ids that the caller gave, in the shapes of `StackInputs.given_position_ids`, or None.
        cache: the cache of self-attention, or None.
        max_position_embeddings: the config's value, or None if no encoding needs a bound of the `position_ids` that
            the caller gave. With None, no bound of these ids is computed. Otherwise, compiled code takes this number as
            the bound, or the number of tokens if that is larger; eager code computes the bound from the largest id,
            which synchronises with a GPU.
        may_be_packed: whether a restart of `position_ids` starts a new document, if there are no document ids.

    Raises:
        ValueError: the document ids, the mask or the position ids do not fit the number of rows and tokens. Sizes are
            not checked if the cache returns its length as a tensor, as a static cache without a window does once it
            holds tokens.
        TypeError: the mask, the position ids or the document ids are not a tensor.
    """
    check_tensors(attention_mask=attention_mask, position_ids=position_ids, document_ids=document_ids)
    attention_mask, position_ids, document_ids = (
        None if given is None else given.to(hidden_states.device)
        for given in (attention_mask, position_ids, document_ids)
    )
    batch, length = hidden_states.shape[:2]
    past_length = cache.get_seq_length() if cache is not None else 0
    if cache is not None and isinstance(past_length, torch.Tensor):  # a static cache
        bound: int | None = cache.get_max_length()
    else:
        bound = past_length + length
        _check_sizes(attention_mask, document_ids, batch, past_length + length)
        _check_positions(position_ids, batch, length, past_length)
    if may_be_packed and document_ids is None and position_ids is not None:
        document_ids = documents_of_positions(position_ids)
    if document_ids is not None:
        document_ids = document_ids.expand(batch, -1)
    if position_ids is None:
        counted = count_positions(attention_mask, past_length, length, hidden_states.device, document_ids)
        return StackInputs(hidden_states, attention_mask, document_ids, counted, bound)
    if max_position_embeddings is None:
        bound = None
    elif is_compiling():
        bound = max(cast(int, bound), max_position_embeddings)
    else:
        bound = int(position_ids.max()) + 1
    return StackInputs(hidden_states, attention_mask, document_ids, position_ids[:, -length:], bound, position_ids)


def check_tensors(**given: Any) -> None:
    """Raise `TypeError` if an argument is neither None nor a tensor, such as a list."""
    for name, value in given.items():
        if value is not None and not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} is a {type(value).__name__}: give a tensor.")


def _check_sizes(
    attention_mask: torch.Tensor | None, document_ids: torch.Tensor | None, batch: int, tokens: int
) -> None:
    if document_ids is not None and (document_ids.ndim != 2 or document_ids.shape[0] not in (1, batch)):
        raise ValueError(
            f"document_ids has the shape {tuple(document_ids.shape)}, but there are {batch} sequences: give a row of "
            "ids for each sequence, or one row for all of them."
        )
    if document_ids is not None and document_ids.shape[1] < tokens:
        raise ValueError(
            f"document_ids has {document_ids.shape[1]} ids for each sequence, but each sequence has {tokens} tokens, "
            f"including cached tokens: give a document id for each token."
        )
    if attention_mask is None or attention_mask.ndim != 2:
        return
    if attention_mask.shape[0] != batch or attention_mask.shape[1] < tokens:
        raise ValueError(
            f"attention_mask has the shape {tuple(attention_mask.shape)}, but there are {batch} sequences of {tokens} "
            f"tokens, including cached tokens: give an entry for each token."
        )


def _check_positions(position_ids: torch.Tensor | None, batch: int, length: int, past_length: int) -> None:
    if position_ids is None or (
        position_ids.ndim == 2
        and position_ids.shape[0] in (1, batch)
        and position_ids.shape[1] in (length, past_length + length)
    ):
        return
    with_past = f", or for cached and new tokens, ({batch}, {past_length + length})" if past_length else ""
    raise ValueError(
        f"position_ids have the shape {tuple(position_ids.shape)}: give a position for each token, ({batch}, {length})"
        f"{with_past}."
    )


def count_positions(
    attention_mask: torch.Tensor | None,
    past_length: int | torch.Tensor,
    length: int,
    device: torch.device,
    document_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute position ids that count the real tokens of each sequence, or of each document, from 0.

    Args:
        attention_mask: `(batch, slots)` with 0 at padding on either side; a mask of another shape is ignored.
        past_length: the number of slots before the tokens that get position ids.
        length: the number of tokens that get position ids.
        document_ids: `(batch or 1, slots)`, one document after the other: counting restarts where the id changes.

    Returns:
        A row of `length` position ids for each row of the mask or of the document ids; one row if there are neither.
        Padding before the tokens gets 0. Padding behind them repeats the last position, or gets 0 if it has a document
        id of its own.
    """
    slots = torch.arange(length, device=device) + past_length
    real = attention_mask if attention_mask is not None and attention_mask.ndim == 2 else None
    if real is None:
        if document_ids is None:
            return slots.unsqueeze(0)
        real = torch.ones_like(document_ids)
    count = real.to(device).bool().cumsum(-1)
    if document_ids is not None:
        document_ids = document_ids.to(device)
        starts = torch.nn.functional.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0), value=True)
        before = torch.nn.functional.pad(count[:, :-1], (1, 0))  # tokens before each slot
        count = count - torch.where(starts, before, 0).cummax(-1).values
    return (count - 1).clamp(min=0)[:, slots]


def documents_of_positions(position_ids: torch.Tensor) -> torch.Tensor | None:
    """Compute document ids from position ids that restart in each document, as collators for packing give them.

    Args:
        position_ids: `(batch or 1, length)`. A position id that is not larger than the id before it starts a document.

    Returns:
        Document ids of the same shape. None if no position id restarts, if the shape is another one, and in compiled
        code, which must not depend on the values of tensors.
    """
    if is_compiling() or position_ids.ndim != 2:
        return None
    begins = position_ids[:, 1:] <= position_ids[:, :-1]
    return torch.nn.functional.pad(begins, (1, 0)).cumsum(-1) if begins.any() else None


def visible_keys(attention_mask: torch.Tensor | None, batch: int) -> torch.Tensor | None:
    """Compute the padding mask of cross-attention from the attention mask of the encoder.

    Args:
        attention_mask: `(batch, keys)`, which is returned as it is, or `(batch or 1, 1 or heads, queries, keys)`. An
            entry of a floating-point mask hides a key if it is minus infinity or the lowest number of the dtype.
        batch: the number of rows of the encoder's output.

    Returns:
        `(batch, keys)`: whether any query may attend to the key. None without a mask.
    """
    if attention_mask is None or attention_mask.ndim != 4:
        return attention_mask
    if attention_mask.is_floating_point():
        attention_mask = attention_mask > torch.finfo(attention_mask.dtype).min
    return attention_mask.bool().any(dim=(1, 2)).expand(batch, -1)
