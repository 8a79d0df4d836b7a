# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The inputs of attention besides hidden states: the index of queries and keys, the shared position bias, and the mask.

The index identifies queries and keys by their slots (their indices in a row of the batch) or by their position ids. All
layers of the same type share these inputs, which are computed at most once in a forward pass. `masking_utils` of
transformers provides the mask patterns and, for each backend, a function that makes a mask from a pattern, in the form
that the backend takes.
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
from locant.configuration.position_encodings import AttentionKind

from .positions.base import (
    PositionBias,
    PositionEncoding,
    PositionIndex,
    PositionInputs,
    QueryKeyIndex,
    SlotIndex,
    heads_of_process,
)
from .stack_inputs import NeededTokens, StackInputs, count_positions

Mask = Any  # the type depends on the backend: a tensor, a BlockMask, a FlexMask or a BlockwiseMask

# A function that tells whether a query may attend to a key. Its arguments are the indices of batch, head, query and
# key: scalars, or tensors that broadcast
MaskFunction = Callable[[Any, Any, Any, Any], Any]


class AttentionInputs(NamedTuple):
    """The inputs of an attention layer besides hidden states.

    Args:
        position_inputs: the index of queries and keys, and the tensors and bias that the position encoding computed.
        mask: the mask in the form that the backend takes; None if nothing is masked, or if the backend itself masks
            keys: sdpa and flash attention mask later keys if the layer's attribute `is_causal` is True, and flash
            attention also masks keys outside the window.
        tokens: the tokens whose hidden states attention gets and returns; by default all.
        source_tokens: in cross-attention, the tokens of the source whose keys and values are computed; by default all.
        beams: in cross-attention, the number of neighbouring rows of the decoder that share one row of the source. If
            it is above 1, the other fields describe folded queries: the queries of all rows that share a source are
            joined into one row.
    """

    position_inputs: PositionInputs
    mask: Mask | None = None
    tokens: NeededTokens = NeededTokens()
    source_tokens: NeededTokens = NeededTokens()
    beams: int = 1

    def fold(self, states: torch.Tensor) -> torch.Tensor:
        """Join the rows of the decoder that share a source.

        `states`, `(batch, queries, width)`, becomes `(batch / beams, beams · queries, width)`. If `self.tokens.indices`
        is set, `states` is `(1, tokens, width)` and is returned unchanged, as folding keeps the order of the tokens.
        """
        if self.beams == 1 or self.tokens.indices is not None:
            return states
        return states.unflatten(0, (-1, self.beams)).flatten(1, 2)

    def unfold(self, states: torch.Tensor) -> torch.Tensor:
        """Undo `fold`: convert `(batch / beams, beams · queries, width)` to `(batch, queries, width)`."""
        if self.beams == 1 or self.tokens.indices is not None:
            return states
        return states.unflatten(1, (self.beams, -1)).flatten(0, 1)

    def unfold_weights(self, weights: torch.Tensor | None) -> torch.Tensor | None:
        """Reshape weights `(batch / beams, heads, beams · queries, keys)` to `(batch, heads, queries, keys)`."""
        if self.beams == 1 or weights is None:
            return weights
        return weights.unflatten(2, (self.beams, -1)).transpose(1, 2).flatten(0, 1)


# -- Index of queries and keys


def query_offset(cache: Cache | None, layer_idx: int = 0) -> int | torch.Tensor:
    """Return the slot of the first new query: the number of tokens that the cache has received; 0 without a cache."""
    past = cache.get_query_offset(layer_idx) if cache is not None else 0
    return past.clone() if isinstance(past, torch.Tensor) else past  # a static cache increments its tensor in place


def _slot_index(cache: Cache | None, length: int, layer_idx: int) -> SlotIndex:
    """Return the slots of `length` new queries, and of the cached and new keys in layer `layer_idx`."""
    if cache is None:
        return SlotIndex(length, length)
    keys, kv_offset = cache.get_mask_sizes(length, layer_idx)
    return SlotIndex(length, keys, query_offset(cache, layer_idx), kv_offset)


def _index_of_given_positions(
    inputs: StackInputs, given: torch.Tensor, slots: SlotIndex, cache: Cache | None
) -> QueryKeyIndex:
    """Return the index of queries and keys for an encoding that depends on distances, if the caller gave position ids.

    The index is a `PositionIndex`; or it is `slots`, if there are cached tokens and the caller gave ids for the new
    tokens only. In this case, the ids must equal the positions that `count_positions` counts.

    Raises:
        ValueError: the ids were given for the new tokens only, and differ from the counted positions, or cannot be
            compared with them because compiled code does not know the length of the cache.
    """
    batch, length = inputs.hidden_states.shape[:2]
    past = cache.get_seq_length() if cache is not None else 0
    if not is_compiling():
        past = int(past)  # a static cache without a window returns its length as a tensor
    if given.shape[1] == length and not (isinstance(past, int) and past == 0):
        if isinstance(past, int) and _are_counted(inputs, given, past):
            return slots
        raise ValueError(
            f"position_ids are given for the {length} new tokens only, but the position encoding also needs "
            f"distances to the cached tokens: give the position ids of all tokens, (batch, past + {length})."
        )
    # empty slots of a static cache get the last position; the mask hides them from all queries
    of_keys = (torch.arange(slots.kv_length, device=given.device) + slots.kv_offset).clamp(max=given.shape[1] - 1)
    bound = inputs.position_bound
    return PositionIndex(inputs.position_ids.expand(batch, -1), given[:, of_keys].expand(batch, -1), bound, bound)


def _are_counted(inputs: StackInputs, given: torch.Tensor, past: int) -> bool:
    """Whether the ids `given` for the new tokens equal the ids from `count_positions`; padding is not compared."""
    length, mask = given.shape[1], inputs.attention_mask
    same = given == count_positions(mask, past, length, given.device, inputs.document_ids)
    if mask is not None and mask.ndim == 2:
        same = same | (mask[:, past : past + length] == 0)
    return bool(same.all())


# -- Attention inputs


def self_attention_inputs(
    config: LocantConfig,
    encoding: PositionEncoding,
    position_tensors: Any,
    inputs: StackInputs,
    *,
    window: int | None = None,
    cache: Cache | None = None,
    layer_idx: int = 0,
    adds_bias_to_mask: bool = False,
) -> AttentionInputs:
    """Make the `AttentionInputs` of self-attention for all layers of one type.

    Args:
        config: the config of the model, which names the backend.
        encoding: the position encoding of the stack.
        position_tensors: the tensors that the encoding's `forward` returned.
        inputs: the embeddings of the sequence, with mask, document ids and position ids.
        window: `config.sliding_window`, or None for layers without a window. A query of a decoder sees the last
            `window` keys, including its own key; a query of an encoder sees the keys at a distance of at most `window`.
        cache: the cache of self-attention, or None.
        layer_idx: the index of a layer of this type; the cache may hold different keys for each type.
        adds_bias_to_mask: whether a bias that all layers share is added to the mask, which must be a matrix.

    Raises:
        ValueError: the backend cannot take the mask; or the encoding depends on distances, tokens are cached, and the
            caller gave position ids for the new tokens only, which differ from the positions counted from the mask, or
            cannot be compared with these positions in compiled code.
    """
    slots, documents = _slot_index(cache, inputs.hidden_states.shape[1], layer_idx), inputs.document_ids
    same_document = None
    if documents is not None:
        # the empty slots of a static cache belong to no document
        empty = max(0, slots.kv_length - documents.shape[1])
        same_document = _same_document(documents, torch.nn.functional.pad(documents, (0, empty), value=-1))
    index: QueryKeyIndex = slots
    if inputs.given_position_ids is not None and encoding.bias_types(config):
        index = _index_of_given_positions(inputs, inputs.given_position_ids, slots, cache)
    bias = encoding.shared_bias(position_tensors, index)
    mask = build_mask(
        config,
        inputs.hidden_states,
        slots,
        inputs.attention_mask,
        kind=encoding.kind,
        window=window,
        same_document=same_document,
        cache=cache,
        bias=bias if adds_bias_to_mask else None,
    )
    position_inputs = PositionInputs(index, position_tensors, position_tensors, None if adds_bias_to_mask else bias)
    return AttentionInputs(position_inputs, mask, inputs.tokens)


def cross_attention_inputs(
    config: LocantConfig,
    encoding: PositionEncoding,
    inputs: StackInputs,
    source: StackInputs,
    *,
    q_offset: int | torch.Tensor,
    has_new_keys: bool,
    adds_bias_to_mask: bool,
) -> AttentionInputs:
    """Make the `AttentionInputs` of cross-attention for all layers.

    Args:
        config, adds_bias_to_mask: as in `self_attention_inputs`.
        encoding: the position encoding of cross-attention.
        inputs: the embeddings of the decoder's sequence, with mask, document ids and position ids.
        source: the encoder's output, with mask, document ids and position ids.
        q_offset: the slot of the first query.
        has_new_keys: False if the cache already holds the keys of the source.

    Raises:
        ValueError: document ids are given for the decoder only or for the source only; the number of rows of the
            decoder is not a multiple of the number of rows of the source; a four-dimensional mask fits neither one
            query nor all queries of the decoder; the backend cannot take the mask.
    """
    source = source.on(inputs.hidden_states.device)
    rows, sources = inputs.hidden_states.shape[0], source.hidden_states.shape[0]
    if rows != sources and (sources == 0 or rows % sources):
        raise ValueError(
            f"The batch size of the decoder is {rows}, and the batch size of the encoder's output is {sources}: give "
            f"the decoder a batch size that is a multiple of {sources}."
        )
    beams = 1 if rows == sources else rows // sources  # the neighbouring rows of the decoder that share a source
    if beams > 1:
        inputs, source = _fold_beams(inputs, source, beams, q_offset)
        q_offset = 0
    hidden_states, batch = inputs.hidden_states, inputs.hidden_states.shape[0]
    index = PositionIndex(
        inputs.position_ids.expand(batch, -1),
        source.position_ids.expand(batch, -1),
        inputs.position_bound,
        source.position_bound,
    )
    # an encoding in cross-attention returns hidden states unchanged; only its tensors for the layers are needed
    _, query_tensors = encoding(hidden_states, inputs.position_ids, inputs.position_bound)
    key_tensors = None
    if has_new_keys:
        _, key_tensors = encoding(source.hidden_states, source.position_ids, source.position_bound)
    slots = SlotIndex(index.q_length, index.kv_length, q_offset)  # the mask is indexed by slots, as document ids are
    same_document = _same_document(inputs.document_ids, source.document_ids)
    bias = encoding.shared_bias(query_tensors, index)
    mask = build_mask(
        config,
        hidden_states,
        slots,
        source.attention_mask,
        kind="cross",
        same_document=same_document,
        bias=bias if adds_bias_to_mask else None,
    )
    position_inputs = PositionInputs(index, query_tensors, key_tensors, None if adds_bias_to_mask else bias)
    return AttentionInputs(position_inputs, mask, inputs.tokens, source.tokens, beams)


def _fold_beams(
    inputs: StackInputs, source: StackInputs, beams: int, q_offset: int | torch.Tensor
) -> tuple[StackInputs, StackInputs]:
    """Join the rows of the decoder that share a source into one row, and fit the source's mask to the joined rows.

    The queries of a joined row have the slots 0, 1, 2 and so on. Their order does not matter, as no query of
    cross-attention depends on another query.
    """
    states, positions, mask = inputs.hidden_states, inputs.position_ids, source.attention_mask
    length = states.shape[1]
    documents = inputs.document_ids
    if documents is not None:
        documents = documents[:, torch.arange(length, device=documents.device) + q_offset].unflatten(0, (-1, beams))
        documents = documents.flatten(1)
    tokens = inputs.tokens
    if tokens.indices is not None:
        tokens = tokens._replace(batch=tokens.batch // beams, length=beams * length)
    folded = inputs._replace(
        hidden_states=states.unflatten(0, (-1, beams)).flatten(1, 2),
        position_ids=positions.expand(states.shape[0], -1).unflatten(0, (-1, beams)).flatten(1),
        document_ids=documents,
        tokens=tokens,
    )
    if mask is not None and mask.ndim == 4:
        if mask.shape[2] not in (1, length):
            raise ValueError(
                f"The mask of cross-attention is for {mask.shape[2]} queries, but there are {length} queries: give a "
                "mask for each query, or one for all of them."
            )
        if mask.shape[0] == states.shape[0]:  # each beam has a mask
            mask = mask.expand(-1, -1, length, -1).unflatten(0, (-1, beams)).transpose(1, 2).flatten(2, 3)
        elif mask.shape[2] > 1:  # all beams of a source have the same mask
            mask = mask.repeat(1, 1, beams, 1)
        source = source._replace(attention_mask=mask)
    return folded, source


def _same_document(of_queries: torch.Tensor | None, of_keys: torch.Tensor | None) -> MaskFunction | None:
    """Return a function that tells if a query and a key have the same document id; None without document ids.

    Args:
        of_queries, of_keys: the document ids of the queries and of the keys, `(batch, slots)` each, or None.

    Raises:
        ValueError: document ids are given for the queries only, or for the keys only.
    """
    if of_queries is None and of_keys is None:
        return None
    if of_queries is None or of_keys is None:
        names = ("encoder", "decoder") if of_queries is None else ("decoder", "encoder")
        raise ValueError(
            f"document_ids are given for the {names[0]}'s tokens only: give document ids for the {names[1]}'s "
            f"tokens too."
        )
    return lambda batch, head, q_idx, kv_idx: of_queries[batch, q_idx] == of_keys[batch, kv_idx]


# -- Masks


class FlexMask(NamedTuple):
    """The mask of flex_attention if the caller gave a custom mask of four dimensions.

    Args:
        block_mask: the mask of causality, window and documents.
        additive: the custom mask, added to the scores, `(batch or 1, heads or 1, queries or 1, keys)`.
    """

    block_mask: BlockMask
    additive: torch.Tensor


def build_mask(
    config: LocantConfig,
    hidden_states: torch.Tensor,
    index: SlotIndex,
    attention_mask: torch.Tensor | None = None,
    *,
    kind: AttentionKind,
    window: int | None = None,
    same_document: MaskFunction | None = None,
    cache: Cache | None = None,
    bias: PositionBias | None = None,
) -> Mask | None:
    """Make the mask of one kind of attention, in the form that the configured backend takes.

    Without `bias`, the result may be None: in this case, no key is masked, or only causality and the window mask keys,
    and the backend applies both itself. The result for flex_attention is never None.

    Args:
        config: the config of the model, which names the backend.
        hidden_states: `(batch, queries, d_model)`, from which only the shape, dtype and device are read.
        index: the slots of queries and keys.
        attention_mask: None; or a padding mask `(batch, slots)` with 0 at padding; or a custom mask for all keys,
            `(batch or 1, 1 or heads, queries or 1, slots)`. A boolean or integer custom mask is 0 where a key is not
            seen; a floating-point custom mask is added to the scores. Every mask is combined with causality, window and
            documents.
        kind: the kind of attention; in `decoder`, no query sees a later key.
        window: as in `self_attention_inputs`.
        same_document: tells if the slots of a query and a key belong to one document; None if each row is one document.
        cache: the cache that holds the earlier keys, or None.
        bias: a position bias that all layers share, to be added to the mask; for eager and sdpa only.

    Raises:
        ValueError: the shape of `attention_mask` is not one of these shapes, or the backend cannot take the mask.
    """
    is_causal = kind == "decoder"
    custom, padding = _custom_or_padding(attention_mask, hidden_states)
    backend = config._attn_implementation or "eager"
    if is_flash(backend):
        if custom is not None or same_document is not None:
            given = "a mask of four dimensions" if custom is not None else "document ids"
            raise ValueError(
                f"{backend} takes a padding mask only, but got {given}: set attn_implementation to sdpa, blockwise or "
                f"flex_attention."
            )
        padding = _without_empty_slots(padding, index, hidden_states) if cache is not None else padding
    # with one query and a static cache, sdpa without a mask would attend to the empty slots of the cache
    has_empty_slots = getattr(cache, "is_compileable", False) and index.q_length == 1
    is_simple = same_document is None and custom is None
    mask = ALL_MASK_ATTENTION_FUNCTIONS[backend](
        batch_size=hidden_states.shape[0],
        q_length=index.q_length,
        kv_length=index.kv_length,
        q_offset=index.q_offset,
        kv_offset=index.kv_offset,
        mask_function=_pattern(is_causal, window, same_document),
        attention_mask=padding,
        # if a skip is allowed, the mask function returns None when the kernel attends to the same keys without a mask
        local_size=window,
        allow_is_causal_skip=is_causal and is_simple and bias is None and not has_empty_slots,
        allow_is_bidirectional_skip=not is_causal and is_simple,
        dtype=hidden_states.dtype,
        device=hidden_states.device,
        config=config,  # for mask functions that users have registered
        is_causal=is_causal,  # only `blockwise_mask` reads `is_causal` and `window`
        window=window,
    )
    heads = heads_of_process(config, kind)
    if custom is not None:
        of_heads = custom if custom.shape[1] == 1 else custom[:, heads]
        mask = _with_custom(mask, _for_keys(of_heads, index, cache), hidden_states.dtype)
    return mask if bias is None else _with_bias(mask, bias, hidden_states, heads.stop - heads.start)


def is_flash(backend: str) -> bool:
    """Whether a backend is, by its name, a version of flash attention or a kernel from the Hub that implements it."""
    return "flash" in backend


def _custom_or_padding(
    attention_mask: torch.Tensor | None, hidden_states: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the pair (custom mask, padding mask): `attention_mask`, converted, is one of them, and the other is None.

    An `attention_mask` of four dimensions is a custom mask, and is converted to boolean, or, if it is additive, to the
    dtype of the hidden states. An `attention_mask` of two dimensions is a padding mask, and is converted to boolean; in
    a transform of torch.func, it is converted to a custom mask. If `attention_mask` is None, both masks are None. An
    `attention_mask` with another number of dimensions raises `ValueError`.
    """
    if attention_mask is None:
        return None, None
    if attention_mask.ndim == 2 and torch._C._are_functorch_transforms_active():
        # under vmap, masking_utils cannot branch on the values of a padding mask
        attention_mask = attention_mask.bool()[:, None, None]
    if attention_mask.ndim == 2:
        return None, attention_mask.bool()
    if attention_mask.ndim != 4:
        raise ValueError(
            f"attention_mask has the shape {tuple(attention_mask.shape)}: give (batch, tokens), or (batch, heads or 1, "
            f"queries, keys)."
        )
    if not attention_mask.is_floating_point():
        return attention_mask.bool(), None
    dtype = hidden_states.dtype
    # the softmax of a row of minus infinity is NaN
    return attention_mask.to(dtype).clamp(min=torch.finfo(dtype).min), None


def _pattern(is_causal: bool, window: int | None, same_document: MaskFunction | None) -> MaskFunction:
    """Return the mask function that combines causality, the window and the documents."""
    patterns: list[MaskFunction] = [causal_mask_function if is_causal else bidirectional_mask_function]
    if window is not None:
        patterns.append((sliding_window_overlay if is_causal else sliding_window_bidirectional_overlay)(window))
    if same_document is not None:
        patterns.append(same_document)
    return and_masks(*patterns) if len(patterns) > 1 else patterns[0]


def _without_empty_slots(
    padding: torch.Tensor | None, index: SlotIndex, hidden_states: torch.Tensor
) -> torch.Tensor | None:
    """Cut the padding mask for flash attention after the slot of the last query: a static cache has empty slots there.

    If `padding` is None, return a mask of ones for the filled slots if the cache has empty slots, else None.
    """
    seen = int(index.q_offset) + index.q_length
    if padding is not None:
        return padding[:, :seen]
    filled = seen - int(index.kv_offset)
    if index.kv_length <= filled:
        return None
    return torch.ones(hidden_states.shape[0], filled, dtype=torch.bool, device=hidden_states.device)


def _for_keys(custom: torch.Tensor, index: SlotIndex, cache: Cache | None) -> torch.Tensor:
    """Fit a custom mask to the keys in the cache: cut off keys that the cache has dropped, and mask its empty slots.

    Raise `ValueError` if the mask is neither for one query nor for all queries, or has too few keys.
    """
    seen = index.kv_length if cache is None else index.q_offset + index.q_length
    if custom.shape[2] not in (1, index.q_length) or (isinstance(seen, int) and custom.shape[3] < seen):
        raise ValueError(
            f"The attention mask of four dimensions is for {custom.shape[2]} queries and {custom.shape[3]} keys, but "
            f"there are {index.q_length} queries and {seen} keys, including cached keys: give a mask for all of them."
        )
    if isinstance(index.kv_offset, int) and index.kv_offset:
        custom = custom[..., index.kv_offset :]
    if custom.shape[-1] < index.kv_length:
        unseen = torch.finfo(custom.dtype).min if custom.is_floating_point() else 0
        custom = torch.nn.functional.pad(custom, (0, index.kv_length - custom.shape[-1]), value=unseen)
    return custom[..., : index.kv_length]


def _with_custom(mask: Mask, custom: torch.Tensor, dtype: torch.dtype) -> Mask:
    """Combine the mask of the backend with a custom mask; the result has the form that the backend takes."""
    if isinstance(mask, BlockMask):
        return FlexMask(mask, custom if custom.is_floating_point() else additive(custom, dtype))
    if not isinstance(mask, torch.Tensor):  # a `BlockwiseMask`
        return mask.with_custom(custom)
    unseen = torch.finfo(dtype).min
    if custom.is_floating_point():
        return torch.where(mask if mask.dtype == torch.bool else mask == 0, custom, unseen)
    return mask & custom if mask.dtype == torch.bool else mask.masked_fill(~custom, unseen)


def _with_bias(mask: torch.Tensor | None, bias: PositionBias, hidden_states: torch.Tensor, heads: int) -> torch.Tensor:
    """Return the sum of a mask (boolean, additive or None) and a position bias, as one additive mask."""
    dtype = hidden_states.dtype
    matrix = bias.matrix(hidden_states.shape[0], heads, hidden_states.device).to(dtype)
    if mask is None:
        return matrix
    if mask.dtype == torch.bool:
        return torch.where(mask, matrix, torch.finfo(dtype).min)
    return (mask + matrix).clamp(min=torch.finfo(dtype).min)


def additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert a boolean mask, True where a query attends to a key, to an additive mask of 0 and the lowest number."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
