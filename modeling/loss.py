# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""From hidden states to logits over the vocabulary, and the loss over tokens."""

from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling
from torch.nn.functional import cross_entropy

from .pretrained import LocantPreTrainedModel


class VocabularyHead(LocantPreTrainedModel):
    """A model with a projection of hidden states onto the vocabulary, `lm_head`."""

    lm_head: nn.Linear

    def logits_and_loss(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits `(batch, length, vocab_size)`, and the loss per token where there are labels.

        Args:
            hidden_states: `(batch, length, d_model)`.
            labels: `(batch, length)`, the token that each place has to predict; -100 where no loss is wanted.
            num_items_in_batch: number of labels in the whole optimiser step, which the loss is divided by; by default
                those of this batch.

        The loss is smoothed by `config.label_smoothing` in training mode only.
        """
        logits = self.lm_head(hidden_states)
        if labels is None:
            return logits, None
        smoothing = self.config.label_smoothing if self.training else 0.0
        return logits, token_loss(logits, labels, smoothing, num_items_in_batch)


# Logits that are turned to float32 at a time: on a CPU few enough to stay in its cache, elsewhere enough work
_CHUNK = {"cpu": 2**18}
_LARGE_CHUNK = 2**26


class _SummedCrossEntropy(torch.autograd.Function):
    """Sum over rows of cross-entropy with smoothed targets, a chunk of rows at a time.

    Neither pass keeps anything of the size of the logits but the logits themselves and their gradient; what
    autograd would make of `cross_entropy` reads and writes that size several times over, in float32.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Logits `(rows, vocabulary)` and labels `(rows, 1)`, -100 left out, to a scalar in float32."""
        counted, targets = _counted_and_targets(labels)
        rows = _rows_at_a_time(logits)
        total = logits.new_zeros((), dtype=torch.float32)
        normalisers = []
        for part, target, is_counted in zip(logits.split(rows), targets.split(rows), counted.split(rows), strict=True):
            part = part.float()
            normaliser = part.logsumexp(dim=-1, keepdim=True)
            loss = normaliser - (1 - smoothing) * part.gather(1, target)
            if smoothing:
                loss -= smoothing * part.mean(dim=-1, keepdim=True)
            total += loss.where(is_counted, 0).sum()
            normalisers.append(normaliser)
        ctx.save_for_backward(logits, labels, torch.cat(normalisers))
        ctx.smoothing = smoothing
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """softmax minus the smoothed target, for the rows that count."""
        logits, labels, normalisers = ctx.saved_tensors
        if torch.is_grad_enabled() and not is_compiling():  # create_graph=True: autograd differentiates this gradient
            total = _differentiable_sum(logits, labels, ctx.smoothing)
            return *torch.autograd.grad(total, logits, grad_output, create_graph=True), None, None
        counted, targets = _counted_and_targets(labels)
        rows = _rows_at_a_time(logits)
        chunks = zip(*(tensor.split(rows) for tensor in (logits, targets, counted, normalisers)), strict=True)
        grads = (_chunk_gradient(grad_output, ctx.smoothing, *chunk) for chunk in chunks)
        if is_compiling():  # compiled code writes slices of a tensor more slowly
            return torch.cat([grad.to(logits.dtype) for grad in grads]), None, None
        gradient = torch.empty_like(logits)
        for out, grad in zip(gradient.split(rows), grads, strict=True):
            out.copy_(grad)
        return gradient, None, None


def _chunk_gradient(
    grad_output: torch.Tensor,
    smoothing: float,
    part: torch.Tensor,
    target: torch.Tensor,
    is_counted: torch.Tensor,
    normaliser: torch.Tensor,
) -> torch.Tensor:
    """The gradient of `_SummedCrossEntropy` for a chunk of logits, in float32; 0 in rows whose label is -100."""
    grad = (part.float() - normaliser).exp_()
    if smoothing:
        grad -= smoothing / part.shape[1]
    grad.scatter_add_(1, target, torch.full_like(normaliser, smoothing - 1))
    grad.mul_(grad_output)
    # the same as `where(is_counted, grad, 0)`, which also removes NaN, but several times faster on a CPU
    grad.view(torch.int32).bitwise_and_(-is_counted.int())
    return grad


def _differentiable_sum(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The same sum as `_SummedCrossEntropy`, computed by `cross_entropy`: differentiable any number of times.

    It takes more memory. Logits of rows whose label is -100 are set to 0 first, because a NaN in such a row would make
    the gradient of `cross_entropy` NaN.
    """
    rows = logits.float().masked_fill(labels == -100, 0)
    return cross_entropy(rows, labels.squeeze(1), ignore_index=-100, reduction="sum", label_smoothing=smoothing)


def _counted_and_targets(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A boolean mask of the labels that are not -100, and the labels with -100 replaced by 0."""
    return labels != -100, labels.masked_fill(labels == -100, 0)


def _rows_at_a_time(logits: torch.Tensor) -> int:
    return max(1, _CHUNK.get(logits.device.type, _LARGE_CHUNK) // logits.shape[1])


@torch.no_grad()
def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of each token, for measuring: plain, in float32, and 0 where the label is -100.

    Args:
        logits: `(batch, length, vocab_size)`, turned to float32 a chunk at a time.
        labels: `(batch, length)`.

    Returns:
        `(batch, length)`, in nats.
    """
    rows = logits.flatten(0, -2)
    parts = zip(*(tensor.split(_rows_at_a_time(rows)) for tensor in (rows, labels.flatten())), strict=True)
    losses = [cross_entropy(part.float(), label, ignore_index=-100, reduction="none") for part, label in parts]
    return torch.cat(losses).view_as(labels)


def token_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    label_smoothing: float = 0.0,
    num_items_in_batch: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy per token, in float32, with label smoothing (Szegedy et al. 2016, section 7).

    Args:
        logits: `(batch, length, vocab_size)`.
        labels: `(batch, length)`, each belonging to the logits at its own place; -100 is left out.
        label_smoothing: share of probability spread evenly over the vocabulary.
        num_items_in_batch: number of tokens of the whole optimiser step, over devices and accumulated batches;
            by default the tokens of this batch.

    Returns:
        A scalar; nan where there is no token to take the mean over.

    Raises:
        ValueError: labels of another shape than the logits' places.
    """
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels have the shape {tuple(labels.shape)}, but logits {tuple(logits.shape)}: give a label for each "
            f"place, and keep the logits of all."
        )
    labels = labels.to(logits.device).reshape(-1, 1)
    rows, smoothing = logits.flatten(0, -2), float(label_smoothing)
    if torch._C._are_functorch_transforms_active():  # torch.func cannot transform the autograd function
        total = _differentiable_sum(rows, labels, smoothing)
    else:
        total = _SummedCrossEntropy.apply(rows, labels, smoothing)
    if num_items_in_batch is None:
        num_items_in_batch = (labels != -100).sum()
    elif isinstance(num_items_in_batch, torch.Tensor):
        num_items_in_batch = num_items_in_batch.to(total.device)
    return total / num_items_in_batch
