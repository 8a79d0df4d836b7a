# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The ways to compute attention, each with the term that position adds to scores and output.

| backend | term of the scores | term of the output | where |
| --- | --- | --- | --- |
| `eager` | as a matrix | yes | anywhere; returns the weights |
| `sdpa` | as a matrix | – | anywhere |
| `blockwise` | as a matrix of one block of queries at a time, made again in the backward pass | yes | anywhere |
| `flex_attention` | inside the kernel, but not one per pair | – | training on GPUs only, without dropout |
| `flash_attention_2` | slopes times distance (ALiBi) | – | GPUs |

Other backends of transformers, and those that others registered there, serve encodings without such terms.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask
from transformers.integrations.flash_attention import flash_attention_forward
from transformers.integrations.flex_attention import compile_friendly_flex_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_flash_attention_utils import lazy_import_flash_attention
from transformers.modeling_utils import AttentionInterface

from locant.configuration.position_encodings import Place

from .masks import FlexMask, is_flash
from .positions.base import AnySpan, PositionLayer, Span

_ABLE = {
    "eager": {"score", "pairs", "values"},
    "blockwise": {"score", "pairs", "values"},
    "sdpa": {"score", "pairs"},
    "flex_attention": {"score"},
}


def needs_of(layer: PositionLayer) -> set[str]:
    """What an encoding's layer asks of a backend: `score`, `pairs`, `values`."""
    flags = {"score": layer.has_score, "pairs": layer.is_per_pair, "values": layer.has_values}
    return {need for need, asked in flags.items() if asked}


def can_serve(backend: str, layer: PositionLayer, place: Place = "encoder") -> bool:
    """Whether `backend` can add the terms of `layer`, at its place in the model."""
    if is_flash(backend) and layer.in_slopes and place != "cross":  # its distances are those of slots
        return backend == "flash_attention_2" or "flash-attn2" in backend
    return needs_of(layer) <= _ABLE.get(backend, set())


def check_backend(
    backend: str,
    layer: PositionLayer,
    place: Place = "encoder",
    encoding: str = "this position encoding",
) -> None:
    """Raise `ValueError` when `backend` cannot serve `encoding`, whose layers are `layer`, at `place`."""
    if backend not in ALL_MASK_ATTENTION_FUNCTIONS:
        raise ValueError(
            f"{backend} has no mask function, without which padding would be seen: register one with "
            f"transformers.AttentionMaskInterface, or set attn_implementation to one of {', '.join(_ABLE)}."
        )
    if not can_serve(backend, layer, place):
        able = [other for other in _ABLE if can_serve(other, layer, place)]
        term = "output" if layer.has_values and "score" in _ABLE.get(backend, ()) else "scores"
        raise ValueError(
            f"{backend} cannot add what {encoding} adds to the {term} of attention: set attn_implementation to "
            f"{', '.join(able[:-1])} or {able[-1]}."
        )


class Term(NamedTuple):
    """What position adds to the scores and to the output in one call of attention.

    Args:
        layer: how.
        query: `(batch, heads, queries, head_dim)`, as they were before `layer.query`.
        span: where queries and keys sit.
        prepared: what the encoding prepared, as `layer.project` made it.
        in_mask: the mask has the term of the scores already.
    """

    layer: PositionLayer
    query: torch.Tensor
    span: AnySpan
    prepared: Any
    in_mask: bool = False

    @property
    def has_score(self) -> bool:
        """Whether there is something to add to the scores."""
        return self.layer.has_score and not self.in_mask

    def dense(self) -> torch.Tensor:
        """What is added to the scores, broadcastable to `(batch, heads, queries, keys)`."""
        rows = self.layer.rows(self.query, self.span, self.prepared)
        batch, heads = self.query.shape[:2]
        term = self.layer.dense(rows, batch, heads, self.span, self.prepared, self.query.device)
        return term.to(self.query.dtype)

    def values(self, weights: torch.Tensor) -> torch.Tensor:
        """What is added to the output, `(batch, queries, heads, head_dim)`."""
        return self.layer.values(weights, self.span).transpose(1, 2)


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    term: Term | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(Q K^T · scaling + term + mask) V (Vaswani et al. 2017, equation 1), returning the weights too.

    Args:
        module: the attention layer; its `training` decides on dropout.
        query: `(batch, heads, queries, head_dim)`.
        key, value: `(batch, key_value_heads, keys, head_dim)`.
        attention_mask: added to the scores, broadcastable to `(batch, heads, queries, keys)`, or None.
        scaling: factor on the scores.
        dropout: on the weights, in training.
        term: what position adds.

    Returns:
        Output `(batch, queries, heads, head_dim)` and weights `(batch, heads, queries, keys)`.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if term is not None and term.has_score:
        scores = scores + term.dense()
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    output = torch.matmul(weights, value).transpose(1, 2).contiguous()
    if term is not None and term.layer.has_values:
        output = output + term.values(weights)
    return output, weights


def sdpa_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    term: Term | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """torch's scaled_dot_product_attention, with the term as a matrix; as `eager_attention`, without weights."""
    bias = term.dense() if term is not None and term.has_score else None
    return sdpa_attention_forward(module, query, key, value, attention_mask, position_bias=bias, **kwargs)


def flex_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: BlockMask | FlexMask | torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    term: Term | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """torch's flex_attention, which calls the term's `score` for each pair inside its kernel.

    Raises:
        ValueError: there is dropout, or gradients are asked for on CPU, where the kernel has no backward pass.
    """
    if dropout > 0:
        raise ValueError(
            f"flex_attention has no dropout, but attention_dropout={dropout}: set it to 0, or attn_implementation to "
            f"blockwise."
        )
    if query.device.type == "cpu" and torch.is_grad_enabled() and query.requires_grad:
        raise ValueError("flex_attention has no backward pass on CPU: set attn_implementation to blockwise to train.")
    block_mask, added = attention_mask, None
    if isinstance(attention_mask, FlexMask):
        block_mask, added = attention_mask
    elif isinstance(attention_mask, torch.Tensor):
        block_mask, added = None, attention_mask
    groups = query.shape[1] // key.shape[1]
    if groups & (groups - 1):  # the kernel shares a key among powers of two only
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    output: Any = compile_friendly_flex_attention(
        query,
        key,
        value,
        score_mod=_score_mod(term, added),
        block_mask=block_mask,
        enable_gqa=key.shape[1] != query.shape[1],
        scale=scaling,
        training=module.training,
    )
    return output.transpose(1, 2).contiguous(), None


def _score_mod(term: Term | None, added: torch.Tensor | None) -> Callable[..., torch.Tensor] | None:
    """The pointwise function that flex_attention adds to its scores with."""
    has_score = term is not None and term.has_score
    if not has_score and added is None:
        return None
    if term is not None and has_score:
        layer, span, prepared = term.layer, term.span, term.prepared
        rows = layer.rows(term.query, span, prepared)
        if isinstance(span, Span):  # as numbers, the offsets of every step would be compiled anew
            query_offset, key_offset = (
                torch.as_tensor(offset, device=term.query.device) for offset in (span.query_offset, span.key_offset)
            )
            span = Span(span.queries, span.keys, query_offset, key_offset)

    def score_mod(score: Any, batch: Any, head: Any, query_index: Any, key_index: Any) -> torch.Tensor:
        if has_score:
            score = score + layer.score(rows, batch, head, query_index, key_index, span, prepared)
        if added is not None:
            own_batch = batch if added.shape[0] > 1 else 0
            own_head = head if added.shape[1] > 1 else 0
            own_query = query_index if added.shape[2] > 1 else 0
            score = score + added[own_batch, own_head, own_query, key_index]
        return score

    return score_mod


def flash_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    term: Term | None = None,
    is_cross: bool = False,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Flash attention by transformers, and by ourselves where it would leave something out.

    That is the slopes of ALiBi, and a padded source in cross-attention, whose mask it would take for the queries' too.
    """
    window = None if is_cross else getattr(module, "sliding_window", None)
    if window is not None and not module.is_causal:
        window += 1  # they count the token itself, an encoder's window does not
    slopes = term.prepared if term is not None and term.has_score else None
    if slopes is None and not (is_cross and attention_mask is not None):
        options = {"scaling": scaling, "dropout": dropout, "sliding_window": window, **kwargs}
        return flash_attention_forward(module, query, key, value, attention_mask, **options)
    options = {"dropout_p": dropout, "softmax_scale": scaling, "causal": module.is_causal, "alibi_slopes": slopes}
    if window is not None:
        options["window_size"] = (window - 1, 0 if module.is_causal else window - 1)
    config: Any = module.config
    dense, varlen = lazy_import_flash_attention(config._attn_implementation)[0][:2]
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if attention_mask is None:
        output = dense(query, key, value, **options)
    else:
        output = _flash_without_padding(varlen, query, key, value, attention_mask, is_cross, options)
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
    """All real tokens of the batch in one row, `(tokens, heads, head_dim)`, and the output back in its places."""
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


# Those of transformers, but for the ones that take the term
ATTENTION = AttentionInterface()
ATTENTION["sdpa"] = sdpa_attention
ATTENTION["flex_attention"] = flex_attention


def backend_function(backend: str | None) -> Callable[..., tuple[torch.Tensor, torch.Tensor | None]]:
    """The function of a backend, by default `eager_attention`; kernels that stand for flash attention are one."""
    if backend is None:
        return eager_attention
    return flash_attention if is_flash(backend) else ATTENTION.get_interface(backend, eager_attention)
