# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The backend `blockwise`: attention of one block of queries at a time, in memory that grows linearly with the length.

If there are several blocks, the mask, the bias and the weights of a block exist only while the block is computed, and
the backward pass computes them again (Rabe & Staats 2021, section 3, with blocks of queries only). A block is computed
without the keys that causality or a window hides from all queries of the block. The backend serves every position
encoding, on any device, and supports dropout.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, and_masks, padding_mask_function
from transformers.modeling_utils import AttentionInterface

from .attention_backends import eager_attention, sdpa_attention
from .attention_inputs import additive
from .positions.base import PositionBias

# The largest number of scores in a block of queries; a block of 16 queries, the smallest size, may have more. A few
# matrices of this size are in memory at a time
_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True)
class BlockwiseMask:
    """Describes the mask of a call of attention, and makes the mask of one block of queries at a time.

    Args:
        pattern: a `MaskFunction`, which tells whether the slot of a query sees the slot of a key.
        batch_size: the number of rows of the batch.
        q_offset, kv_offset: the slots of the first query and of the first key.
        device: the device of the tensors that `pattern` reads.
        is_causal, window: whether `pattern` is causal, and the size of its window, or None. The method `keys` uses both
            to find the keys that a block can leave out.
        is_plain: whether the mask is causality and nothing else, and queries and keys have the same slots.
        custom: the caller's mask of four dimensions, boolean or additive, `(batch or 1, heads or 1, queries or 1,
            keys)`; or None.
        block_device: the device of the masks that `block` returns; by default `device`.
    """

    pattern: Callable[..., torch.Tensor]
    batch_size: int
    q_offset: int | torch.Tensor
    kv_offset: int | torch.Tensor
    device: torch.device
    is_causal: bool
    window: int | None
    is_plain: bool = False
    custom: torch.Tensor | None = None
    block_device: torch.device | None = None

    def to(self, device: Any, **kwargs: Any) -> "BlockwiseMask":
        """Return a copy whose method `block` makes masks on `device`.

        accelerate calls `to` if the layers of a model are on several devices.
        """
        custom = None if self.custom is None else self.custom.to(device, **kwargs)
        return replace(self, custom=custom, block_device=torch.device(device))

    def with_custom(self, custom: torch.Tensor) -> "BlockwiseMask":
        """Return a copy of this mask that is combined with the mask `custom`."""
        return replace(self, custom=custom, is_plain=False)

    def keys(self, queries: slice, keys: int) -> slice:
        """Return a slice that contains all keys that a slice of the queries may see; `keys` is the number of keys."""
        if isinstance(self.q_offset, torch.Tensor) or isinstance(self.kv_offset, torch.Tensor):
            return slice(0, keys)
        shift = self.q_offset - self.kv_offset
        first, last = 0, keys
        if self.is_causal:
            last = min(keys, queries.stop + shift)
        elif self.window is not None:
            last = min(keys, queries.stop + shift + self.window)
        if self.window is not None:
            first = max(0, queries.start + shift - self.window)
        # the slice has at least one key, also for queries that attend to no key
        return slice(min(first, max(last - 1, 0)), max(last, 1))

    def block(self, queries: slice, keys: slice, dtype: torch.dtype) -> torch.Tensor:
        """The mask of a slice of the queries and a slice of the keys: boolean, or additive if `custom` is additive."""
        batch = torch.arange(self.batch_size, device=self.device)[:, None, None, None]
        q_idx = torch.arange(queries.start, queries.stop, device=self.device)[:, None] + self.q_offset
        kv_idx = torch.arange(keys.start, keys.stop, device=self.device) + self.kv_offset
        visible = self.pattern(batch, torch.zeros_like(batch), q_idx[None, None], kv_idx[None, None, None])
        visible = visible.expand(-1, -1, q_idx.shape[0], kv_idx.shape[0]).to(self.block_device or self.device)
        if self.custom is None:
            return visible
        custom = self.custom[:, :, queries if self.custom.shape[2] > 1 else slice(None), keys]
        if not custom.is_floating_point():
            return visible & custom
        return torch.where(visible, custom.to(dtype), torch.finfo(dtype).min)


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
    """Make the mask of the backend `blockwise`; None if nothing is masked.

    `masking_utils` of transformers has a mask function for each backend. This function takes the arguments of the
    function for sdpa, `sdpa_mask`, and the arguments `is_causal` and `window` of `BlockwiseMask`.
    """
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


def blockwise_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: BlockwiseMask | None,
    dropout: float = 0.0,
    bias: PositionBias | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention for one block of queries at a time.

    The arguments are those of `eager_attention`, except for the mask, which is a `BlockwiseMask` or None.

    Returns:
        Output `(batch, queries, heads, head_dim)`, and None instead of weights.
    """
    mask = attention_mask
    if (mask is None or mask.is_plain) and bias is None and dropout == 0:
        # without a mask matrix and a bias, the memory of sdpa's kernels grows linearly with the length
        return sdpa_attention(module, query, key, value, None, dropout=dropout, **kwargs)
    call = _Call(module, _blocks(query, key, mask), mask, bias, {**kwargs, "dropout": dropout})
    states = query, key, value, *(() if bias is None else bias.tensors().values())
    if torch._C._are_functorch_transforms_active():  # torch.func cannot transform `_Blockwise`
        return call._replace(is_eager=True).attend_all(states), None
    if not torch.is_grad_enabled() or len(call.blocks) == 1:
        return call.attend_all(states), None
    custom = None if mask is None else mask.custom
    if torch.compiler.is_compiling() or (custom is not None and custom.requires_grad):
        return _by_checkpoints(call, *states), None
    return _Blockwise.apply(call, *states), None


def _blocks(query: torch.Tensor, key: torch.Tensor, mask: BlockwiseMask | None) -> list[tuple[slice, slice]]:
    """Split the queries into slices, and find for each of them the slice of the keys that its queries may see.

    The number of queries in a slice is a multiple of 16, except in the last slice.
    """
    scores_of_a_query = max(1, query.shape[0] * query.shape[1] * key.shape[2])  # the product is 0 in an empty batch
    length, size = query.shape[2], max(16, _BLOCK_ELEMENTS // scores_of_a_query // 16 * 16)
    # not range(0, length, size), which would make the length a constant of compiled code
    queries = [slice(index * size, min((index + 1) * size, length)) for index in range(-(-length // size))]
    if mask is None:
        return [(block, slice(0, key.shape[2])) for block in queries]
    return [(block, mask.keys(block, key.shape[2])) for block in queries]


class _Call(NamedTuple):
    """The arguments of one call of attention, except for queries, keys and values.

    Args:
        module: the attention layer.
        blocks: for each block, a slice of the queries and the slice of the keys that they may see.
        mask: the mask of the whole call.
        bias: the bias of the whole call; `attend` replaces its tensors by the tensors in `states`.
        options: keyword arguments of the backends, `dropout` among them.
        is_eager: use `eager_attention` for every block, as it can be differentiated any number of times.
    """

    module: nn.Module
    blocks: list[tuple[slice, slice]]
    mask: BlockwiseMask | None
    bias: PositionBias | None
    options: dict[str, Any]
    is_eager: bool = False

    def attend_all(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the output of all blocks, `(batch, queries, heads, head_dim)`.

        Args:
            states: queries, keys and values of the whole call, and the tensors of the bias.
        """
        return torch.cat([self.attend(block, _part(block, *states)) for block in self.blocks], dim=1)

    def attend(self, block: tuple[slice, slice], states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the output of one block, `(batch, queries, heads, head_dim)`.

        Args:
            block: one of `blocks`.
            states: the block's slices of queries, keys and values, and the tensors of the whole bias.
        """
        query, key, value, *tensors = states
        queries, keys = block
        mask, bias = None if self.mask is None else self.mask.block(queries, keys, query.dtype), self.bias
        if bias is not None:
            fields: dict[str, Any] = dict(zip(bias.tensors(), tensors, strict=True))
            bias = replace(bias, **fields).block(queries, keys)
        is_trained = any(tensor.requires_grad for tensor in tensors)
        # sdpa on CPU is slow if the bias needs a gradient, so the backward pass recomputes the block with eager
        # attention. With dropout, the forward pass uses eager attention too, although it computes no gradients, because
        # both passes must draw the same random numbers
        is_slow = is_trained and query.device.type == "cpu" and (torch.is_grad_enabled() or self.options["dropout"] > 0)
        if not (self.is_eager or is_slow or (bias is not None and bias.has_output)):
            options = {**self.options, "is_causal": False}
            return sdpa_attention(self.module, query, key, value, mask, bias=bias, **options)[0]
        if mask is not None and mask.dtype == torch.bool:
            mask = additive(mask, query.dtype)
        return eager_attention(self.module, query, key, value, mask, bias=bias, **self.options)[0]


def _by_checkpoints(call: _Call, *states: torch.Tensor) -> torch.Tensor:
    """Compute the output of all blocks with torch.utils.checkpoint instead of `_Blockwise`.

    Checkpoints are used in compiled code, because torch.compile can trace them, and for a custom mask that needs a
    gradient, which `_Blockwise` does not compute. They are not used otherwise, because they fragment memory in eager
    code.
    """
    query, key, value, *tensors = states
    wide = torch.promote_types(query.dtype, torch.float32)  # gradients of keys and values are summed in this dtype

    def attend(queries: slice, keys: slice, *states: torch.Tensor) -> torch.Tensor:
        part = _part((queries, keys), *states)
        return call.attend((queries, keys), [*(state.to(query.dtype) for state in part[:3]), *part[3:]])

    # `attend` gets the tensors as arguments, because `checkpoint` saves and restores the random state of the device of
    # these arguments
    states = query, key.to(wide), value.to(wide), *tensors
    return torch.cat([checkpoint(attend, *block, *states, use_reentrant=False) for block in call.blocks], dim=1)


class _Blockwise(torch.autograd.Function):
    """Computes all blocks of a call as one node of the autograd graph, which saves only the inputs for backward."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *states: torch.Tensor) -> torch.Tensor:
        device = states[0].device
        ctx.call, ctx.device = call, device
        ctx.autocast = torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type)
        ctx.random_state = _random_state(device) if call.options["dropout"] > 0 else None
        ctx.save_for_backward(*states)
        return call.attend_all(states)

    @staticmethod
    def backward(ctx: Any, output_gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, needs = ctx.saved_tensors, ctx.needs_input_grad[1:]
        gradients_of = _differentiable_gradients if torch.is_grad_enabled() else _summed_gradients
        dtype, is_enabled = ctx.autocast
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(ctx.device.type, dtype=dtype, enabled=is_enabled, cache_enabled=False))
            if ctx.random_state is not None:
                stack.callback(_set_random_state, ctx.device, _random_state(ctx.device))
                _set_random_state(ctx.device, ctx.random_state)
            return None, *gradients_of(ctx.call, states, needs, output_gradient)


def _summed_gradients(
    call: _Call, states: Sequence[torch.Tensor], needs: Sequence[bool], output_gradient: torch.Tensor
) -> list[torch.Tensor | None]:
    """Compute, block by block, the gradient of each tensor in `states`; None for tensors that need no gradient."""
    # gradients are summed over the blocks in float32, as hundreds of additions in bfloat16 would lose precision
    gradients = [
        torch.zeros_like(whole, dtype=torch.promote_types(whole.dtype, torch.float32)) if need else None
        for whole, need in zip(states, needs, strict=True)
    ]
    for block in call.blocks:
        parts = zip(_part(block, *states), needs, strict=True)
        leaves = [part.detach().requires_grad_(need) for part, need in parts]
        wanted = [leaf for leaf, need in zip(leaves, needs, strict=True) if need]
        output = call.attend(block, leaves)
        found = torch.autograd.grad(output, wanted, output_gradient[:, block[0]], allow_unused=True)
        totals = [total for total in _part(block, *gradients) if total is not None]
        for total, gradient in zip(totals, found, strict=True):
            if gradient is not None:
                total += gradient
    return [None if g is None else g.to(w.dtype) for g, w in zip(gradients, states, strict=True)]


def _differentiable_gradients(
    call: _Call, states: Sequence[torch.Tensor], needs: Sequence[bool], output_gradient: torch.Tensor
) -> list[torch.Tensor | None]:
    """Compute the gradients that `_summed_gradients` computes, but with a graph, so that they can be differentiated.

    The intermediate results of all blocks stay in memory.
    """
    # Differentiate with respect to views, not the states themselves: a bias may be computed from the queries, and
    # autograd later adds the part of the queries' gradient that flows through the bias
    views = [state.view_as(state) for state in states]
    wanted = [view for view, need in zip(views, needs, strict=True) if need]
    # with dropout, use the backend of the forward pass, which draws the same random numbers
    if call.options["dropout"] == 0:
        call = call._replace(is_eager=True)
    found = iter(torch.autograd.grad(call.attend_all(views), wanted, output_gradient, None, True, allow_unused=True))
    return [next(found) if need else None for need in needs]


def _part(block: tuple[slice, slice], query: Any, key: Any, value: Any, *others: Any) -> list[Any]:
    """Return the slices of queries, keys and values that belong to a block, and `others` unchanged; None stays None."""
    places = zip((query, key, value), (block[0], block[1], block[1]), strict=True)
    return [None if states is None else states[:, :, place] for states, place in places] + list(others)


def _random_state(device: torch.device) -> torch.Tensor:
    """Return the state of the device's random number generator."""
    if device.type == "cpu":
        return torch.get_rng_state()
    # without an argument, `get_rng_state` would return the state of the current device, which may be another device
    return torch.get_device_module(device).get_rng_state(device)


def _set_random_state(device: torch.device, state: torch.Tensor) -> None:
    """Set the state of the device's random number generator."""
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)


AttentionInterface.register("blockwise", blockwise_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register("blockwise", blockwise_mask)
