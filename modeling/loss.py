# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The loss over tokens."""

import torch
from torch.nn.functional import cross_entropy


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
        A scalar.
    """
    reduction = "mean" if num_items_in_batch is None else "sum"
    loss = cross_entropy(
        logits.flatten(0, -2).float(),
        labels.to(logits.device).flatten(),
        ignore_index=-100,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    if num_items_in_batch is None:
        return loss
    if isinstance(num_items_in_batch, torch.Tensor):
        num_items_in_batch = num_items_in_batch.to(loss.device)
    return loss / num_items_in_batch
