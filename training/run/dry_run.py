# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The dry run of `locant train`: prints the share of padding, and estimates of the memory and the time of training."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import accumulate
from typing import Any, cast

import numpy as np
import psutil
import torch
from accelerate.utils import send_to_device
from torch.autograd import DeviceType
from torch.profiler import profile
from transformers import PreTrainedModel

from ..data.batching import padding_share
from ..errors import InputError
from ..options.arguments import TrainingArguments
from ..tasks.recipe import TrainerInputs
from .progress import warmup_warning
from .trainer import training_sampler
from .trial_steps import seconds_of_round

MIB = 2**20
_BYTES_OF_MOMENTS = 8
"""The number of bytes that the two moments of Adam take for each parameter."""


def print_dry_run(
    args: TrainingArguments,
    model: PreTrainedModel,
    inputs: TrainerInputs,
) -> None:
    """Print the numbers of batches and steps, the share of padding, and the memory and the time of training.

    The memory of activations and gradients is measured in a forward and backward pass of the largest batch, on the
    device of the run; the memory of the optimiser is computed for Adam. The time of training is the measured time of a
    forward and backward pass of the batch of median size, times the number of passes. In a streamed run, the largest
    batch and the batch of median size are taken from the first block. For models that read images, the share of padding
    and the FLOP are left out.

    Raises:
        InputError: the largest batch does not fit into the memory of the device.
    """
    lengths = inputs.train_lengths
    batches = list(training_sampler(args, lengths))
    rows_of_batches = [[row for _, row in batch] for batch in batches]
    tokens = [len(rows) * int(lengths[rows].max(axis=0).sum()) for rows in rows_of_batches]
    updates = math.ceil(math.ceil(len(batches) / args.gradient_accumulation_steps) * args.num_train_epochs)
    updates = args.max_steps if args.max_steps > 0 else updates
    passes = updates * args.gradient_accumulation_steps

    def load(number: int) -> Mapping[str, torch.Tensor]:
        return send_to_device(inputs.data_collator(inputs.train_dataset.__getitems__(batches[number])), args.device)

    cast(Any, model).to(args.device)
    free = free_bytes(args.device)
    if args.gradient_checkpointing:
        enable_checkpointing(model)
    by_size = np.argsort(tokens)
    largest, median = int(by_size[-1]), int(by_size[len(by_size) // 2])
    try:
        step = peak_of_step(model, load(largest), args.bf16 is True)
        seconds = seconds_of_round(model, [load(median)], args.bf16 is True)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"The largest batch, of {len(batches[largest]):,} rows, does not fit into the memory of the device: give a "
            "smaller per_device_train_batch_size, or a smaller max_tokens_per_batch if this option is given."
        ) from error

    processes = args.world_size if args.shard_weights else 1
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    moments = _BYTES_OF_MOMENTS * trained / processes
    larger = max(0.0, free - moments) / max(step, 1)
    flop = 6 * parameters * float(np.mean(tokens)) * passes * args.world_size
    report = [
        (
            "batches an epoch" if inputs.stream is None else "batches a block",
            f"{len(batches):,} on each of {args.world_size} devices",
        ),
        ("steps", f"{updates:,}"),
        ("padding", f"{padding_share(lengths, rows_of_batches):.1%} of the tokens in training batches"),
        ("memory of the model", f"{_mib(4 * parameters / processes)} for the weights"),
        (
            "memory of training",
            f"{_mib(step + moments)} above the model at its peak: {_mib(step)} for activations and gradients of the "
            f"largest batch, {_mib(moments)} for the optimiser (Adam)",
        ),
        (
            "largest batch",
            f"a batch {larger:.1f} times as large as the largest one would still fit into the free {_mib(free)}",
        ),
        ("computation", f"{flop:.2g} FLOP, 6 for each parameter and token"),
        ("time of training", f"{timedelta(seconds=round(seconds * passes))} on this device, without evaluations"),
    ]
    if model.main_input_name == "pixel_values":  # `tokens` counts an image as one token
        report = [row for row in report if row[0] not in ("padding", "computation")]
    print("\n".join(f"{name:<22} {value}" for name, value in report))
    if warning := warmup_warning(args, updates):
        print(warning)
    print("Dry run: nothing was trained or written.")


def enable_checkpointing(model: PreTrainedModel) -> None:
    """Turn activation checkpointing on, by the method that the installed release of transformers has for it."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()


def peak_of_step(model: PreTrainedModel, batch: Mapping[str, torch.Tensor], bf16: bool = False) -> int:
    """Return the peak of the memory that torch allocates in a forward and backward pass of `batch`, in bytes.

    Activations and gradients are counted; weights are not, as they are allocated before. The device must be a CPU or a
    CUDA GPU.
    """
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        seconds_of_round(model, [batch], bf16)
        return torch.cuda.max_memory_allocated(model.device) - before
    with _without_standard_error(), profile(profile_memory=True) as recorded:
        seconds_of_round(model, [batch], bf16)
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in recorded.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    )
    return max(accumulate(change for _, change in changes), default=0)


@contextmanager
def _without_standard_error() -> Iterator[None]:
    """Discard output to standard error in the `with` block, as the profiler writes two lines to it at any log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a CUDA device in bytes; for other devices, the available memory of the machine."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def _mib(size: float) -> str:
    return f"{size / MIB:,.0f} MiB"
