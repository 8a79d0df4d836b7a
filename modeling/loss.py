# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The projection of hidden states to logits over the vocabulary, and the cross-entropy loss over tokens."""

from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling
from torch.nn.functional import cross_entropy, linear, pad

from .linear import is_plain_linear, project
from .pretrained import LocantPreTrainedModel

_COMPILED_CHUNKS = 8  # the number of chunks into which compiled code splits the hidden states


class VocabularyHead(LocantPreTrainedModel):
    """Base class of models that project hidden states onto the vocabulary with a linear layer, `lm_head`."""

    lm_head: nn.Linear
    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012 (declared in the base class)

    def logits_and_loss(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        skip_logits: bool | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Compute logits `(batch, length, vocab_size)`, and the mean loss per token if there are labels.

        Args:
            hidden_states: `(batch, length, d_model)`.
            labels: `(batch, length)`, the token that each token has to predict; -100 for no loss.
            num_items_in_batch: number of labels in the whole optimiser step, by which the summed loss is divided; by
                default the number of labels in this batch that are not -100.
            skip_logits: return None for the logits. The loss is then computed without a tensor of all logits.
                Exception: if another library has wrapped or replaced `lm_head` or attached hooks to it, or under a
                transform of torch.func, `lm_head` is called and computes all logits.

        The loss is smoothed by `config.label_smoothing` in training mode only.

        Raises:
            ValueError: `skip_logits` is True, but there are no labels; the labels' shape is not `(batch, length)`.
        """
        if skip_logits and labels is None:
            raise ValueError("With skip_logits=True, only the loss is computed, but no labels are given: give labels.")
        smoothing = self.config.label_smoothing if self.training else 0.0
        if skip_logits and labels is not None and is_plain_linear(self.lm_head):
            return None, linear_token_loss(hidden_states, self.lm_head, labels, smoothing, num_items_in_batch)
        logits = project(self.lm_head, hidden_states)
        loss = None if labels is None else token_loss(logits, labels, smoothing, num_items_in_batch)
        return None if skip_logits else logits, loss


def needed_by_loss(labels: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return a mask of the tokens that the loss depends on, `(batch, length)`.

    The result is None, which means all tokens, if the shape of `attention_mask` is not the shape of the labels.

    Padding is left out if the labels of all padding are -100. In a decoder without a mask, a token is left out if its
    own label and the labels of all later tokens are -100, as causality hides the token from earlier tokens.

    Args:
        labels: `(batch, length)`, the token that each token has to predict, or -100.
        attention_mask: the attention mask of the stack. It may be None for a decoder only.
    """
    counted = labels != -100
    if attention_mask is None:
        return counted.flip(1).cummax(1).values.flip(1)
    if attention_mask.shape != labels.shape:
        return None
    real = attention_mask.bool()
    # padding may see no token at all, and then its output may depend on every token: if the label of a padding token
    # counts, no token is left out
    return real | (counted.to(real.device) & ~real).any()


def token_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    label_smoothing: float = 0.0,
    num_items_in_batch: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the mean cross-entropy of the tokens, in float32, with label smoothing (Szegedy et al. 2016, section 7).

    Args:
        logits: `(batch, length, vocab_size)`.
        labels: `(batch, length)`, the token that the logits with the same indices predict; -100 is ignored.
        label_smoothing: share of probability spread evenly over the vocabulary.
        num_items_in_batch: number of labels in the whole optimiser step (all devices and accumulated batches), by which
            the summed loss is divided; by default the number of labels in this batch that are not -100.

    Returns:
        A scalar; nan if there are no tokens to average over.

    Raises:
        ValueError: the shape of the labels is not the shape of the logits without the last dimension.
    """
    labels = _label_rows(labels, logits)
    rows, smoothing = logits.flatten(0, -2), float(label_smoothing)
    # the transforms of torch.func, such as `vmap` or `grad`, cannot transform `_SummedCrossEntropy`
    is_transformed = torch._C._are_functorch_transforms_active()
    summed = _differentiable_sum if is_transformed else _SummedCrossEntropy.apply
    return _per_item(summed(rows, labels, smoothing), labels, num_items_in_batch)


def linear_token_loss(
    hidden_states: torch.Tensor,
    head: nn.Linear,
    labels: torch.Tensor,
    label_smoothing: float = 0.0,
    num_items_in_batch: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute `token_loss(head(hidden_states), ...)` without a tensor of all logits.

    No logits are computed for tokens whose label is -100, except in compiled code, whose shapes must not depend on the
    labels.

    Args:
        hidden_states: `(batch, length, d_model)`.
        head: the projection onto the vocabulary. Its weight and bias are used, and its `forward` is not called.
        labels, label_smoothing, num_items_in_batch: as in `token_loss`.

    Returns:
        A scalar; nan if there are no tokens to average over.

    Raises:
        ValueError: the shape of the labels is not `(batch, length)`.
    """
    labels = _label_rows(labels, hidden_states)
    rows, counted = hidden_states.flatten(0, -2), labels != -100
    if is_compiling():
        missing = -len(rows) % _COMPILED_CHUNKS
        rows = pad(rows.masked_fill(~counted, 0), (0, 0, 0, missing))
        kept = pad(labels, (0, 0, 0, missing), value=-100)
    else:
        rows, kept = rows[counted.squeeze(1)], labels[counted].unsqueeze(1)
    total = _SummedLinearCrossEntropy.apply(
        rows, head.weight, head.bias, kept, float(label_smoothing), torch.is_grad_enabled()
    )
    return _per_item(total, labels, num_items_in_batch)


def _label_rows(labels: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Reshape the labels of all tokens to `(tokens, 1)`, and move them to the device of `places`.

    `places` are the logits or the hidden states of the tokens.

    Raises:
        ValueError: the shape of the labels is not the shape of `places` without the last dimension.
    """
    if labels.shape != places.shape[:-1]:
        raise ValueError(
            f"labels have the shape {tuple(labels.shape)}, but the tokens that predict them have "
            f"the shape {tuple(places.shape[:-1])}: give a label for each token, and leave logits_to_keep out."
        )
    return labels.to(places.device).reshape(-1, 1)


def _per_item(total: torch.Tensor, labels: torch.Tensor, num_items_in_batch: int | torch.Tensor | None) -> torch.Tensor:
    """Divide a summed loss by `num_items_in_batch`; if that is None, by the number of labels that are not -100."""
    if num_items_in_batch is None:
        num_items_in_batch = (labels != -100).sum()
    elif isinstance(num_items_in_batch, torch.Tensor):
        num_items_in_batch = num_items_in_batch.to(total.device)
    return total / num_items_in_batch


def _chunk_rows(device: torch.device) -> int:
    """The number of rows that are multiplied by the weight of the head at a time: enough for fast matrix products."""
    return 256 if device.type == "cpu" else 1024


class _SummedCrossEntropy(torch.autograd.Function):
    """Computes the cross-entropy with smoothed targets, summed over all rows, for one chunk of rows at a time.

    The gradient is the only new tensor that has the size of the logits. torch's `cross_entropy` with autograd would
    create, read and write several float32 tensors of this size.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Compute the cross-entropy, summed in float32 over the rows whose label is not -100.

        `logits` is `(rows, vocabulary)`, and `labels` is `(rows, 1)`.
        """
        counted, targets = _counted_and_targets(labels)
        rows = _rows_at_a_time(logits)
        total = logits.new_zeros((), dtype=torch.float32)
        normalisers = []
        for part, target, is_counted in zip(logits.split(rows), targets.split(rows), counted.split(rows), strict=True):
            normaliser, loss = _normaliser_and_loss(part.float(), target, smoothing)
            total += loss.where(is_counted, 0).sum()
            normalisers.append(normaliser)
        ctx.save_for_backward(logits, labels, torch.cat(normalisers))
        ctx.smoothing = smoothing
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient with respect to the logits: softmax minus smoothed target, times `grad_output`.

        The gradient is 0 in rows whose label is -100.
        """
        logits, labels, normalisers = ctx.saved_tensors
        # gradients are enabled here if the caller set create_graph=True: autograd has to differentiate this gradient
        if torch.is_grad_enabled() and not is_compiling():
            total = _differentiable_sum(logits, labels, ctx.smoothing)
            return *torch.autograd.grad(total, logits, grad_output, create_graph=True), None, None
        counted, targets = _counted_and_targets(labels)
        rows = _rows_at_a_time(logits)
        chunks = zip(*(tensor.split(rows) for tensor in (logits, targets, counted, normalisers)), strict=True)
        grads = (_chunk_gradient(grad_output, ctx.smoothing, *chunk) for chunk in chunks)
        if is_compiling():  # in compiled code, `cat` is faster than writing slices of a tensor
            return torch.cat([grad.to(logits.dtype) for grad in grads]), None, None
        gradient = torch.empty_like(logits)
        for out, grad in zip(gradient.split(rows), grads, strict=True):
            out.copy_(grad)
        return gradient, None, None


def _normaliser_and_loss(
    logits: torch.Tensor, target: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logsumexp of the logits, and the cross-entropy with a smoothed target, `(rows, 1)` each.

    Args:
        logits: `(rows, vocabulary)`, in float32.
        target: the token that each row has to predict, `(rows, 1)`.
        smoothing: share of probability spread evenly over the vocabulary.
    """
    normaliser = logits.logsumexp(dim=-1, keepdim=True)
    loss = normaliser - (1 - smoothing) * logits.gather(1, target)
    if smoothing:
        loss -= smoothing * logits.mean(dim=-1, keepdim=True)
    return normaliser, loss


def _softmax_minus_target(
    logits: torch.Tensor, target: torch.Tensor, normaliser: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """The gradient of the loss of `_normaliser_and_loss` with respect to the logits, `(rows, vocabulary)`."""
    gradient = (logits - normaliser).exp_()
    if smoothing:
        gradient -= smoothing / logits.shape[1]
    return gradient.scatter_add_(1, target, torch.full_like(normaliser, smoothing - 1))


def _chunk_gradient(
    grad_output: torch.Tensor,
    smoothing: float,
    part: torch.Tensor,
    target: torch.Tensor,
    is_counted: torch.Tensor,
    normaliser: torch.Tensor,
) -> torch.Tensor:
    """The gradient of `_SummedCrossEntropy` for a chunk of logits, in float32; 0 in rows whose label is -100."""
    grad = _softmax_minus_target(part.float(), target, normaliser, smoothing)
    grad.mul_(grad_output)
    # like `where`, this sets rows whose label is -100 to 0, even if they hold NaN, but is several times faster on a CPU
    grad.view(torch.int32).bitwise_and_(-is_counted.int())
    return grad


class _SummedLinearCrossEntropy(torch.autograd.Function):
    """Computes `_SummedCrossEntropy` of the logits of a linear layer, for one chunk of hidden states at a time.

    The forward pass computes the gradients as well, as otherwise the backward pass would have to compute the logits
    again. Matrices are multiplied in the dtype of autocast (without autocast, in the dtype of the weight), and sums are
    in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        smoothing: float,
        grad_enabled: bool,
    ) -> torch.Tensor:
        """Compute the cross-entropy, summed in float32 over the rows whose label is not -100.

        `hidden_states` is `(rows, d_model)`, and `labels` is `(rows, 1)`. Only compiled code passes rows whose label is
        -100; the hidden states of these rows must be finite. `grad_enabled` tells whether gradients are enabled in the
        caller; if they are not, the forward pass computes none.
        """
        device = hidden_states.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        needs = [grad_enabled and need for need in ctx.needs_input_grad[:3]]
        cast_weight = weight.to(dtype)
        total = weight.new_zeros((), dtype=torch.float32)
        grad_hidden, grad_bias = [], None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs[1] else None
        for rows, part in zip(_head_chunks(hidden_states.to(dtype)), _head_chunks(labels), strict=True):
            counted, target = _counted_and_targets(part)
            logits = linear(rows, cast_weight, None if bias is None else bias.to(dtype)).float()
            normaliser, loss = _normaliser_and_loss(logits, target, smoothing)
            total += (loss * counted).sum()
            if not any(needs):
                continue
            grad_logits = _softmax_minus_target(logits, target, normaliser, smoothing)
            if is_compiling():  # in eager code, no label is -100
                grad_logits *= counted
            cast_grad = grad_logits.to(dtype)
            if needs[0]:
                grad_hidden.append((cast_grad @ cast_weight).to(hidden_states.dtype))
            if grad_weight is not None:
                grad_weight = _add_product(grad_weight, cast_grad.t(), rows)
            if needs[2]:
                grad_bias = grad_logits.sum(dim=0) + (0 if grad_bias is None else grad_bias)
        ctx.smoothing, ctx.dtype = smoothing, dtype
        gradients = torch.cat(grad_hidden) if grad_hidden else None, grad_weight, grad_bias
        ctx.save_for_backward(hidden_states, weight, bias, labels, *gradients)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients that the forward pass computed, times `grad_output`.

        With `create_graph=True`, eager code computes the gradients again, so that autograd can differentiate them.
        """
        hidden_states, weight, bias, labels, *gradients = ctx.saved_tensors
        # without any label, the loss is 0 / 0 and `grad_output` infinite; as in torch's loss, all gradients are then 0
        grad_output = torch.where((labels != -100).any(), grad_output, 0.0)
        inputs = hidden_states, weight, bias
        # gradients are enabled here if the caller set create_graph=True: autograd has to differentiate this gradient
        if torch.is_grad_enabled() and not is_compiling():
            # gradients with respect to views, not to the inputs: hidden states may be computed from the tied weight,
            # and autograd later adds the part of the weight's gradient that flows through the hidden states
            views: list[Any] = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
            operands: list[Any] = [None if view is None else view.to(ctx.dtype) for view in views]
            total = _differentiable_sum(linear(*operands), labels, ctx.smoothing)
            needs = ctx.needs_input_grad[:3]
            wanted = [view for view, need in zip(views, needs, strict=True) if need]
            found = iter(torch.autograd.grad(total, wanted, grad_output, create_graph=True))
            return *(next(found) if need else None for need in needs), None, None, None
        scaled = (
            None if gradient is None else (gradient * grad_output).to(tensor.dtype)
            for gradient, tensor in zip(gradients, inputs, strict=True)
        )
        return *scaled, None, None, None


def _head_chunks(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Split the rows into chunks of a fixed size.

    Compiled code, whose shapes may be symbolic, gets a fixed number of chunks instead.
    """
    if is_compiling():
        return rows.unflatten(0, (_COMPILED_CHUNKS, -1)).unbind()
    return rows.split(_chunk_rows(rows.device))


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Add the matrix product `left @ right` to `total`, a float32 tensor, in place, and return `total`."""
    return total.addmm_(left, right) if left.dtype == total.dtype else total.add_(left @ right)


def _differentiable_sum(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Compute the result of `_SummedCrossEntropy` with torch's `cross_entropy`, which can be differentiated repeatedly.

    `cross_entropy` takes more memory than `_SummedCrossEntropy`. Logits of rows whose label is -100 are set to 0 first,
    because a NaN in one of these rows would make the gradient of `cross_entropy` NaN.
    """
    rows = logits.float().masked_fill(labels == -100, 0)
    return cross_entropy(rows, labels.squeeze(1), ignore_index=-100, reduction="sum", label_smoothing=smoothing)


def _counted_and_targets(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a boolean mask of the labels that are not -100, and the labels with -100 replaced by 0."""
    return labels != -100, labels.masked_fill(labels == -100, 0)


def _rows_at_a_time(logits: torch.Tensor) -> int:
    """Return how many rows of logits to convert to float32 at a time: few for a CPU's cache, many to occupy a GPU."""
    chunk_logits = 2**18 if logits.device.type == "cpu" else 2**26
    return max(1, chunk_logits // logits.shape[1])


@torch.no_grad()
def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each token, for evaluation: without label smoothing, in float32, 0 if the label is -100.

    Args:
        logits: `(batch, length, vocab_size)`; they are converted to float32 a chunk at a time.
        labels: `(batch, length)`, the token that the logits with the same indices predict, or -100.

    Returns:
        `(batch, length)`, in nats.
    """
    rows = logits.flatten(0, -2)
    parts = zip(*(tensor.split(_rows_at_a_time(rows)) for tensor in (rows, labels.flatten())), strict=True)
    losses = [cross_entropy(part.float(), label, ignore_index=-100, reduction="none") for part, label in parts]
    return torch.cat(losses).view_as(labels)
