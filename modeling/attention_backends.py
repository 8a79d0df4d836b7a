# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The attention backends, and the position biases that each can add to the scores and to the output of attention.

| backend | bias on the scores | bias on the output | runs on |
| --- | --- | --- | --- |
| `eager` | as a matrix | yes | any device; returns the attention weights |
| `sdpa` | as a matrix | – | any device |
| `blockwise` (blockwise.py) | as a matrix, one block of queries at a time | yes | any device |
| `flex_attention` | inside the kernel; not `dense` | – | any device, training on GPUs only; no dropout |
| `flash_attention_2`, also as a kernel from the Hub | linear (ALiBi) | – | GPUs |

All other backends that are registered in transformers serve only encodings without a bias.
`PositionEncoding.bias_types` describes the types of bias, such as `dense`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask
from transformers.integrations.flash_attention import flash_attention_forward
from transformers.integrations.flex_attention import compile_friendly_flex_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_flash_attention_utils import lazy_import_flash_attention
from transformers.modeling_utils import AttentionInterface

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .attention_inputs import FlexMask, is_flash
from .positions.base import PositionBias, PositionIndex, SlotIndex, position_encoding_class


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    bias: PositionBias | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute softmax(Q K^T · scaling + bias + mask) V (Vaswani et al. 2017, equation 1), plus a bias on the output.

    Args:
        module: the attention layer, whose attribute `training` tells whether dropout is applied.
        query: `(batch, heads, queries, head_dim)`.
        key, value: `(batch, key_value_heads, keys, head_dim)`.
        attention_mask: added to the scores, broadcastable to `(batch, heads, queries, keys)`, or None.
        scaling: factor on the scores.
        dropout: the dropout probability of the weights, in training mode.
        bias: the bias of the position encoding, or None.

    Returns:
        Output `(batch, queries, heads, head_dim)` and weights `(batch, heads, queries, keys)`.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if bias is not None:
        scores = scores + bias.matrix(query.shape[0], query.shape[1], query.device).to(query.dtype)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    output = torch.matmul(weights, value).transpose(1, 2).contiguous()
    if bias is not None and bias.has_output:
        output = output + bias.output(weights).transpose(1, 2)
    return output, weights


_FUNCTIONS = AttentionInterface()  # transformers' backends; the end of this file replaces sdpa and flex_attention


def attention_function(backend: str | None) -> Callable[..., tuple[torch.Tensor, torch.Tensor | None]]:
    """Return the attention function of a backend: `eager_attention` for None, `flash_attention` for flash kernels."""
    if backend is None:
        return eager_attention
    return flash_attention if is_flash(backend) else _FUNCTIONS.get_interface(backend, eager_attention)


def sdpa_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    bias: PositionBias | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Call torch's scaled_dot_product_attention, with the bias as a matrix.

    Arguments and output are as in `eager_attention`, but the mask may also be boolean, True where a key is seen, and no
    weights are returned.
    """
    matrix = None if bias is None else bias.matrix(query.shape[0], query.shape[1], query.device).to(query.dtype)
    if query.numel() == 0:  # transformers reshapes the output with a size of -1, which is ambiguous for an empty tensor
        return query.transpose(1, 2), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, position_bias=matrix, **kwargs)


def flex_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: BlockMask | FlexMask | None,
    scaling: float,
    dropout: float = 0.0,
    bias: PositionBias | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Call torch's flex_attention, whose kernel calls `bias.pointwise` for each pair of query and key.

    Raises:
        ValueError: `dropout` is above 0, or gradients are needed on a CPU, where the kernel has no backward pass.
    """
    if dropout > 0:
        raise ValueError(
            f"flex_attention has no dropout, but attention_dropout={dropout}: set it to 0, or attn_implementation to "
            f"blockwise."
        )
    if query.device.type == "cpu" and torch.is_grad_enabled() and query.requires_grad:
        raise ValueError("flex_attention has no backward pass on CPU: set attn_implementation to blockwise to train.")
    block_mask, additive = attention_mask if isinstance(attention_mask, FlexMask) else (attention_mask, None)
    groups = query.shape[1] // key.shape[1]
    if groups & (groups - 1):  # flex_attention supports grouped queries only if the group size is a power of two
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    output: Any = compile_friendly_flex_attention(
        query,
        key,
        value,
        score_mod=_score_mod(bias, additive, query.device),
        block_mask=block_mask,
        enable_gqa=key.shape[1] != query.shape[1],
        scale=scaling,
        training=module.training,
    )
    return output.transpose(1, 2).contiguous(), None


def _score_mod(
    bias: PositionBias | None, additive: torch.Tensor | None, device: torch.device
) -> Callable[..., torch.Tensor] | None:
    """Return the function `score_mod` of flex_attention, which adds the position bias and the mask to a score.

    The mask is `additive`, a custom mask of four dimensions. The result is None if both bias and mask are None.
    """
    if bias is None and additive is None:
        return None
    if bias is not None and isinstance(bias.index, SlotIndex):
        # convert the offsets to tensors, because a kernel would be compiled for each value of an integer offset
        q_offset, kv_offset = (
            torch.as_tensor(offset, device=device) for offset in (bias.index.q_offset, bias.index.kv_offset)
        )
        bias = replace(bias, index=bias.index._replace(q_offset=q_offset, kv_offset=kv_offset))

    def score_mod(score: Any, batch: Any, head: Any, q_idx: Any, kv_idx: Any) -> torch.Tensor:
        if bias is not None:
            score = score + bias.pointwise(batch, head, q_idx, kv_idx)
        if additive is not None:
            own_batch = batch if additive.shape[0] > 1 else 0
            own_head = head if additive.shape[1] > 1 else 0
            own_query = q_idx if additive.shape[2] > 1 else 0
            score = score + additive[own_batch, own_head, own_query, kv_idx]
        return score

    return score_mod


def flash_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    bias: PositionBias | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Call transformers' `flash_attention_forward`, or the kernel itself for ALiBi and for padding in cross-attention.

    transformers' function has no argument for the slopes of ALiBi, and in cross-attention it applies the padding mask
    of the source to the queries as well.

    Raises:
        ValueError: the encoding is ALiBi, and `bias.index` is a `PositionIndex`: the kernels compute distances from the
            order of the tokens, not from position ids.
    """
    window = module.sliding_window
    if window is not None and not module.is_causal:
        window += 1  # transformers' window counts the query's own token, but `sliding_window` of an encoder does not
    slopes = None if bias is None else bias.slopes  # type: ignore[attr-defined]  # `can_serve` allows linear biases only
    if bias is not None and isinstance(bias.index, PositionIndex):
        raise ValueError(
            "The kernels of flash attention compute distances from the order of the tokens, not from position_ids: "
            "leave out position_ids, or set attn_implementation to sdpa."
        )
    if slopes is None and not (module.is_cross and attention_mask is not None):
        options = {"scaling": scaling, "dropout": dropout, "sliding_window": window, **kwargs}
        return flash_attention_forward(module, query, key, value, attention_mask, **options)
    options = {"dropout_p": dropout, "softmax_scale": scaling, "causal": module.is_causal, "alibi_slopes": slopes}
    if window is not None:
        options["window_size"] = (window - 1, 0 if module.is_causal else window - 1)
    dense, varlen = lazy_import_flash_attention(module.config._attn_implementation)[0][:2]
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if attention_mask is not None:
        return _flash_without_padding(varlen, query, key, value, attention_mask, module.is_cross, options), None
    output = dense(query, key, value, **options)
    return output[0] if isinstance(output, tuple) else output, None


def _flash_without_padding(
    varlen: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    is_cross: bool,
    options: dict[str, Any],
) -> torch.Tensor:
    """Call `varlen`, the kernel for sequences of different lengths, with all real tokens of the batch in one row.

    The output of the kernel is returned in the shape of `query`, with 0 at padding.
    """
    seen = attention_mask.bool()
    key, value = key[:, : seen.shape[1]][seen], value[:, : seen.shape[1]][seen]
    real = torch.ones_like(query[..., 0, 0], dtype=torch.bool) if is_cross else seen[:, -query.shape[1] :]
    lengths = [mask.sum(1, dtype=torch.int32) for mask in (real, seen)]
    starts = [nn.functional.pad(length.cumsum(0, dtype=torch.int32), (1, 0)) for length in lengths]
    output = varlen(
        query[real],
        key,
        value,
        cu_seqlens_q=starts[0],
        cu_seqlens_k=starts[1],
        max_seqlen_q=int(lengths[0].max()),
        max_seqlen_k=int(lengths[1].max()),
        **options,
    )
    output = output[0] if isinstance(output, tuple) else output
    return query.new_zeros(query.shape, dtype=output.dtype).masked_scatter(real[..., None, None], output)


# The bias types (`PositionEncoding.bias_types`) that each backend can add
BIAS_TYPES: dict[str, set[str]] = {
    "eager": {"linear", "pointwise", "dense", "output"},
    "sdpa": {"linear", "pointwise", "dense"},
    "blockwise": {"linear", "pointwise", "dense", "output"},
    "flex_attention": {"linear", "pointwise"},
}


def can_serve(backend: str, config: LocantConfig, kind: AttentionKind) -> bool:
    """Whether `backend` can add the bias of the encoding that `config` names for this kind of attention."""
    bias_types = position_encoding_class(config, kind).bias_types(config)
    # flash attention 2 adds -slope · |distance| between slots; cross-attention needs distances between position ids
    if is_flash(backend):
        is_linear = bias_types == {"linear"} and kind != "cross"
        return not bias_types or (is_linear and (backend == "flash_attention_2" or "flash-attn2" in backend))
    return bias_types <= BIAS_TYPES.get(backend, set())


def check_name(backend: str, config: LocantConfig, kinds: Iterable[AttentionKind]) -> None:
    """Raise `ValueError` for a name that is neither a registered backend nor a kernel `owner/name` of the Hub."""
    if "/" not in backend and backend not in ("eager", *_FUNCTIONS.valid_keys()):
        able = _names(able for able in BIAS_TYPES if all(can_serve(able, config, kind) for kind in kinds))
        raise ValueError(f'Specified `attn_implementation="{backend}"` is not supported: set it to {able}.')


def check_backend(backend: str, config: LocantConfig, kind: AttentionKind) -> None:
    """Raise `ValueError` if `backend` has no mask function, or cannot add the bias of the position encoding.

    `config` names the position encoding of `kind`, the kind of attention.
    """
    if backend not in ALL_MASK_ATTENTION_FUNCTIONS:
        known = "" if backend not in BIAS_TYPES else " or install and import locant, which registers one,"
        raise ValueError(
            f"{backend} has no mask function, so attention would see padding: register a mask function with "
            f"transformers.AttentionMaskInterface,{known} or set attn_implementation to one of {_names(BIAS_TYPES)}."
        )
    if not can_serve(backend, config, kind):
        bias_types = position_encoding_class(config, kind).bias_types(config)
        target = "output" if "output" in bias_types and "pointwise" in BIAS_TYPES.get(backend, ()) else "scores"
        able = _names(able for able in BIAS_TYPES if can_serve(able, config, kind))
        raise ValueError(
            f"{backend} cannot add the bias of the position encoding {config.position_encoding_at(kind)!r} to the "
            f"{target} of attention: {f'set attn_implementation to {able}' if able else 'no backend can add it'}."
        )


def _names(backends: Any) -> str:
    names = [name for name in backends if name in ALL_MASK_ATTENTION_FUNCTIONS]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


_FUNCTIONS["sdpa"] = sdpa_attention
_FUNCTIONS["flex_attention"] = flex_attention
