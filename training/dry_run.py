# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a run would take, without training."""

import math

import numpy as np
import torch
from datasets import DatasetDict
from transformers import PreTrainedModel

from .arguments import TrainingArguments
from .batching import padding_share
from .preprocessing import pair_lengths
from .trainer import training_sampler

MIB = 2**20
# weight, gradient, and the two moments of Adam, all in float32
BYTES_PER_PARAMETER = 16


def print_dry_run(args: TrainingArguments, model: PreTrainedModel, tokens: DatasetDict) -> None:
    """Print parameters, batches, padding and memory."""
    lengths = pair_lengths(tokens["train"])
    batches = [[row for _, row in batch] for batch in training_sampler(args, lengths)]
    steps = math.ceil(math.ceil(len(batches) / args.gradient_accumulation_steps) * args.num_train_epochs)
    parameters = model.num_parameters()
    activations = largest_batch_bytes(model, lengths, batches)
    rows = [
        ("parameters", f"{parameters:,}"),
        ("batches an epoch", f"{len(batches):,} on each of {args.world_size} devices"),
        ("steps", f"{args.max_steps if args.max_steps > 0 else steps:,}"),
        ("padding", f"{padding_share(lengths, batches):.1%} of the tokens in training batches"),
        (
            "memory of weights",
            f"{parameters * BYTES_PER_PARAMETER / MIB:,.0f} MiB with gradients and optimiser",
        ),
        (
            "memory of activations",
            f"{activations / MIB:,.0f} MiB kept for the backward pass of the largest batch",
        ),
    ]
    print("\n".join(f"{name:<22} {value}" for name, value in rows))
    print("Dry run: nothing was trained or written.")


def largest_batch_bytes(model: PreTrainedModel, lengths: np.ndarray, batches: list[list[int]]) -> int:
    """Bytes that autograd keeps for the batch with the most token slots, by running its forward pass."""
    sizes = [(len(batch), *lengths[batch].max(axis=0).tolist()) for batch in batches]
    pairs, source, target = max(sizes, key=lambda size: size[0] * (size[1] + size[2]))
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(
            input_ids=torch.ones(pairs, source, dtype=torch.long),
            attention_mask=torch.ones(pairs, source, dtype=torch.long),
            labels=torch.ones(pairs, target, dtype=torch.long),
        ).loss
    del loss
    return sum(kept.values())
