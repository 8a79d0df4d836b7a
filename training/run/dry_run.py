# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The dry run of `locant train`: print the number of batches, the padding and the memory, without training."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..data.batching import TrainingRows, padding_share
from ..options.arguments import TrainingArguments
from .trainer import can_skip_logits, training_sampler

MIB = 2**20
# weight, gradient, and the two moments of Adam, all in float32
BYTES_PER_PARAMETER = 16


def print_dry_run(
    args: TrainingArguments,
    model: PreTrainedModel,
    dataset: TrainingRows,
    lengths: np.ndarray,
    collator: Callable[[list[Any]], Mapping[str, torch.Tensor]],
) -> None:
    """Print the numbers of batches and steps, the share of padding, and the memory of weights and activations."""
    batches = list(training_sampler(args, lengths))
    rows_of_batches = [[row for _, row in batch] for batch in batches]
    steps = math.ceil(math.ceil(len(batches) / args.gradient_accumulation_steps) * args.num_train_epochs)
    parameters = model.num_parameters()
    slots = [len(rows) * int(lengths[rows].max(axis=0).sum()) for rows in rows_of_batches]
    activations = activation_bytes(model, collator(dataset.__getitems__(batches[int(np.argmax(slots))])))
    report = [
        ("batches an epoch", f"{len(batches):,} on each of {args.world_size} devices"),
        ("steps", f"{args.max_steps if args.max_steps > 0 else steps:,}"),
        ("padding", f"{padding_share(lengths, rows_of_batches):.1%} of the tokens in training batches"),
        (
            "memory of weights",
            f"{parameters * BYTES_PER_PARAMETER / MIB:,.0f} MiB with gradients and optimiser",
        ),
        (
            "memory of activations",
            f"{activations / MIB:,.0f} MiB kept for the backward pass of the largest batch",
        ),
    ]
    print("\n".join(f"{name:<22} {value}" for name, value in report))
    print("Dry run: nothing was trained or written.")


def activation_bytes(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> int:
    """The number of bytes that autograd saves for the backward pass of `batch`, measured in a forward pass."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(**batch, **({"skip_logits": True} if can_skip_logits(model) else {})).loss
    del loss
    return sum(kept.values())
