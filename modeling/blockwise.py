# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The backend `blockwise`: attention of one block of queries at a time, in memory that grows linearly with the length.

A block's mask, term and weights live while it is computed, and are computed again in the backward pass (Rabe & Staats
2021, section 3, with blocks of queries only). Blocks leave out keys that causality or a window hides from all of their
queries. It serves every encoding on any device, with dropout.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, and_masks, padding_mask_function
from transformers.modeling_utils import AttentionInterface

from .attention_backends import Term, eager_attention, sdpa_attention
from .masks import additive

# Scores of one block of queries; a few matrices of this size are alive at a time
_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True)
class BlockwiseMask:
    """A mask that is made for one block of queries at a time.

    Args:
        pattern: whether a query's slot sees a key's, for indices that broadcast.
        batch_size: rows of the batch.
        query_offset, key_offset: slots of the first query and key.
        device: where.
        is_causal, window: what is known of the pattern, to leave keys out that no query of a block sees.
        is_plain: it is causality and nothing else, from the first slot on.
        own: a caller's own mask, boolean or additive, `(batch or 1, heads or 1, queries or 1, keys)`.
    """

    pattern: Callable[..., torch.Tensor]
    batch_size: int
    query_offset: int | torch.Tensor
    key_offset: int | torch.Tensor
    device: torch.device
    is_causal: bool
    window: int | None
    is_plain: bool = False
    own: torch.Tensor | None = None

    def with_own(self, own: torch.Tensor) -> "BlockwiseMask":
        """With a caller's mask on top."""
        return replace(self, own=own, is_plain=False)

    def keys(self, queries: slice, keys: int) -> slice:
        """The keys, of `keys`, that these queries may see."""
        if isinstance(self.query_offset, torch.Tensor) or isinstance(self.key_offset, torch.Tensor):
            return slice(0, keys)
        shift = self.query_offset - self.key_offset
        first, last = 0, keys
        if self.is_causal:
            last = min(keys, queries.stop + shift)
        elif self.window is not None:
            last = min(keys, queries.stop + shift + self.window)
        if self.window is not None:
            first = max(0, queries.start + shift - self.window)
        return slice(min(first, max(last - 1, 0)), max(last, 1))

    def block(self, queries: slice, keys: slice, dtype: torch.dtype) -> torch.Tensor:
        """The mask of these queries and keys: boolean, or additive where the caller's own is."""
        batch = torch.arange(self.batch_size, device=self.device)[:, None, None, None]
        query_slot = torch.arange(queries.start, queries.stop, device=self.device)[:, None] + self.query_offset
        key_slot = torch.arange(keys.start, keys.stop, device=self.device) + self.key_offset
        visible = self.pattern(batch, torch.zeros_like(batch), query_slot[None, None], key_slot[None, None, None])
        visible = visible.expand(-1, -1, query_slot.shape[0], key_slot.shape[0])
        if self.own is None:
            return visible
        own = self.own[:, :, queries if self.own.shape[2] > 1 else slice(None), keys]
        return torch.where(visible, own.to(dtype), torch.finfo(dtype).min) if own.is_floating_point() else visible & own


def blockwise_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | torch.Tensor = 0,
    kv_offset: int | torch.Tensor = 0,
    mask_function: Callable[..., torch.Tensor] | None = None,
    attention_mask: torch.Tensor | None = None,
    allow_is_causal_skip: bool = False,
    allow_is_bidirectional_skip: bool = False,
    device: torch.device | str = "cpu",
    is_causal: bool = False,
    window: int | None = None,
    **kwargs: Any,
) -> BlockwiseMask | None:
    """What `masking_utils` has one function a backend for; arguments are those of `sdpa_mask`."""
    assert mask_function is not None
    padded = attention_mask is not None and (torch.compiler.is_compiling() or not bool(attention_mask.all()))
    if allow_is_bidirectional_skip and not padded and window is None:
        return None
    is_square = isinstance(q_offset, int) and q_offset == kv_offset and q_length == kv_length
    is_plain = allow_is_causal_skip and is_square and not padded and window is None
    if attention_mask is not None and padded:
        missing = kv_length - attention_mask.shape[-1]
        if isinstance(kv_offset, int):
            missing += kv_offset
        padding = torch.nn.functional.pad(attention_mask, (0, max(missing, 0)))
        mask_function = and_masks(mask_function, padding_mask_function(padding))
    return BlockwiseMask(
        mask_function, batch_size, q_offset, kv_offset, torch.device(device), is_causal, window, is_plain
    )


class _Call:
    """One call of attention, cut into blocks of queries; it holds no tensor that gradients go through.

    Args:
        module, dropout, options: as `eager_attention` takes them.
        mask: of the whole call.
        term: likewise; its queries and what was prepared are given with each block.
    """

    def __init__(
        self,
        module: nn.Module,
        mask: BlockwiseMask | torch.Tensor | None,
        dropout: float,
        term: Term | None,
        options: dict[str, Any],
    ):
        self.module, self.mask, self.dropout, self.options = module, mask, dropout, options
        self.layer = None if term is None else term.layer
        self.span = None if term is None else term.span
        self.is_trained = term is not None and any(weight.requires_grad for weight in _weights_of(term))

    def blocks(self, query: torch.Tensor, key: torch.Tensor) -> list[tuple[slice, slice]]:
        """Queries, a multiple of 16 at a time, and the keys that they may see."""
        a_query = query.shape[0] * query.shape[1] * key.shape[2]
        length, size = query.shape[2], max(16, _BLOCK_ELEMENTS // a_query // 16 * 16)
        queries = [slice(start, min(start + size, length)) for start in range(0, length, size)]
        if not isinstance(self.mask, BlockwiseMask):
            return [(block, slice(0, key.shape[2])) for block in queries]
        return [(block, self.mask.keys(block, key.shape[2])) for block in queries]

    def attend(
        self,
        queries: slice,
        keys: slice,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plain_query: torch.Tensor | None,
        prepared: Any,
    ) -> torch.Tensor:
        """The output `(batch, queries, heads, head_dim)` of a block, whose tensors these are."""
        term = None
        if self.layer is not None and self.span is not None and plain_query is not None:
            term = Term(self.layer, plain_query, self.span.block(queries, keys), prepared)
        mask: torch.Tensor | None = None
        if isinstance(self.mask, BlockwiseMask):
            mask = self.mask.block(queries, keys, query.dtype)
        elif self.mask is not None:
            mask = self.mask[:, :, queries if self.mask.shape[2] > 1 else slice(None)]
        if not self._is_explicit(query):
            options = {**self.options, "is_causal": False, "dropout": self.dropout, "term": term}
            return sdpa_attention(self.module, query, key, value, mask, **options)[0]
        if mask is not None and mask.dtype == torch.bool:
            mask = additive(mask, query.dtype)
        return eager_attention(self.module, query, key, value, mask, dropout=self.dropout, term=term, **self.options)[0]

    def _is_explicit(self, query: torch.Tensor) -> bool:
        """Whether weights are made: where the output needs them, or sdpa on CPU would make them on its slowest way."""
        has_values = self.layer is not None and self.layer.has_values
        is_slow = self.is_trained and query.device.type == "cpu"
        return has_values or (is_slow and (torch.is_grad_enabled() or self.dropout > 0))


def blockwise_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: BlockwiseMask | torch.Tensor | None,
    dropout: float = 0.0,
    term: Term | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by blocks; arguments as in `eager_attention`, and no weights are returned."""
    is_plain = attention_mask is None or (isinstance(attention_mask, BlockwiseMask) and attention_mask.is_plain)
    if is_plain and term is None and dropout == 0:  # sdpa's kernels are linear where nothing is added
        return sdpa_attention(module, query, key, value, None, dropout=dropout, **kwargs)
    call = _Call(module, attention_mask, dropout, term, kwargs)
    own = attention_mask.own if isinstance(attention_mask, BlockwiseMask) else attention_mask
    if torch.compiler.is_compiling() or (own is not None and own.requires_grad):
        return _by_checkpoints(call, query, key, value, term), None
    if term is None:
        return _Blockwise.apply(call, lambda tensors: None, 0, query, key, value, None), None
    prepared, rebuild = _tensors_of(term.prepared)
    return _Blockwise.apply(call, rebuild, len(prepared), query, key, value, term.query, *_weights_of(term)), None


def _weights_of(term: Term) -> list[torch.Tensor]:
    """What was prepared, and the parameters of the layer."""
    return [*_tensors_of(term.prepared)[0], *term.layer.parameters()]


def _tensors_of(prepared: Any) -> tuple[list[torch.Tensor], Callable[[Sequence[torch.Tensor]], Any]]:
    """The tensors in what an encoding prepared, and how to put others in their places."""
    leaves, spec = tree_flatten(prepared)

    def rebuild(tensors: Sequence[torch.Tensor]) -> Any:
        others = iter(tensors)
        return tree_unflatten([next(others) if isinstance(leaf, _Place) else leaf for leaf in kept], spec)

    kept = [_Place() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)], rebuild


class _Place:
    """Where a tensor was."""


def _by_checkpoints(
    call: _Call, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, term: Term | None
) -> torch.Tensor:
    """The same by torch's means: a compiler can follow them, and they find every gradient; but memory frays."""

    def attend(queries: slice, keys: slice) -> torch.Tensor:
        plain_query = None if term is None else term.query[:, :, queries]
        states = query[:, :, queries], key[:, :, keys], value[:, :, keys]
        return call.attend(queries, keys, *states, plain_query, None if term is None else term.prepared)

    blocks = call.blocks(query, key)
    recompute = torch.is_grad_enabled() and len(blocks) > 1
    outputs = [checkpoint(attend, *block, use_reentrant=False) if recompute else attend(*block) for block in blocks]
    return torch.cat(outputs, dim=1)


class _Blockwise(torch.autograd.Function):
    """All blocks of a call as one node of the graph, which keeps its inputs and nothing of a block.

    Its inputs after the call: how to rebuild what the encoding prepared, and from how many of the `weights`;
    queries, keys, values; the queries for the term; what was prepared and the parameters of the position layer.
    """

    @staticmethod
    def forward(
        ctx: Any,
        call: _Call,
        rebuild: Callable[[Sequence[torch.Tensor]], Any],
        count: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plain_query: torch.Tensor | None,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        device = query.device.type
        ctx.call, ctx.rebuild, ctx.count = call, rebuild, count
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        ctx.rng_state = _random(query.device).get_rng_state() if call.dropout > 0 else None
        ctx.save_for_backward(query, key, value, plain_query, *weights)
        prepared = rebuild(weights[:count])
        output = torch.empty_like(query.transpose(1, 2))
        for queries, keys in call.blocks(query, key):
            plain_block = None if plain_query is None else plain_query[:, :, queries]
            states = query[:, :, queries], key[:, :, keys], value[:, :, keys]
            output[:, queries] = call.attend(queries, keys, *states, plain_block, prepared)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        call, count, needs = ctx.call, ctx.count, ctx.needs_input_grad[3:]
        query, key, value, plain_query, *weights = ctx.saved_tensors
        inputs = (query, key, value, plain_query, *weights)
        # blocks add up in float32, as hundreds of sums would wear bfloat16 away
        gradients = [
            torch.zeros_like(whole, dtype=torch.promote_types(whole.dtype, torch.float32)) if need else None
            for whole, need in zip(inputs, needs, strict=True)
        ]
        with ExitStack() as stack:
            _repeat_forward(ctx, query.device, stack)
            leaves = [w.detach().requires_grad_(need) for w, need in zip(weights, needs[4:], strict=True)]
            prepared = ctx.rebuild(leaves[:count])
            leaves[count:] = weights[count:]  # the layer uses its own
            for queries, keys in call.blocks(query, key):
                places = (queries, keys, keys, queries)
                states = [
                    None if whole is None else whole[:, :, place].detach().requires_grad_(need)
                    for whole, place, need in zip(inputs, places, needs, strict=False)
                ]
                block = call.attend(queries, keys, *states, prepared)
                wanted = [leaf for leaf, need in zip((*states, *leaves), needs, strict=True) if need]
                found = torch.autograd.grad(block, wanted, output_gradient[:, queries], allow_unused=True)
                targets = [gradient for gradient in _parts(gradients, places) if gradient is not None]
                for target, gradient in zip(targets, found, strict=True):
                    if gradient is not None:
                        target += gradient
        return (
            None,
            None,
            None,
            *(
                gradient if gradient is None else gradient.to(whole.dtype)
                for gradient, whole in zip(gradients, inputs, strict=True)
            ),
        )


def _parts(gradients: list[torch.Tensor | None], places: tuple[slice, ...]) -> list[torch.Tensor | None]:
    """Of the first gradients, the part at each place; the rest whole."""
    states = [None if g is None else g[:, :, place] for g, place in zip(gradients, places, strict=False)]
    return [*states, *gradients[len(places) :]]


def _repeat_forward(ctx: Any, device: torch.device, stack: ExitStack) -> None:
    """Compute as the forward pass did: under its autocast, and with its random numbers."""
    device_type, dtype, is_enabled = ctx.autocast
    stack.enter_context(torch.enable_grad())
    stack.enter_context(torch.autocast(device_type, dtype=dtype, enabled=is_enabled, cache_enabled=False))
    if ctx.rng_state is not None:
        random = _random(device)
        stack.callback(random.set_rng_state, random.get_rng_state())
        random.set_rng_state(ctx.rng_state)


def _random(device: torch.device) -> Any:
    """Where the state of the numbers that dropout on the current device draws is asked for, and set."""
    return torch if device.type == "cpu" else torch.get_device_module(device)


AttentionInterface.register("blockwise", blockwise_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register("blockwise", blockwise_mask)
