# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The speed of training, the share of padding, the memory and the time left, for the Trainer's log."""

import time
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from transformers import TrainerCallback

GIB = 2**30


class Throughput(TrainerCallback):
    """Counts the tokens, rows and seconds of training since the last log entry, and computes the speed for the log.

    Args:
        accelerator: sums the counts over all processes.
        labels_are_inputs: whether a decoder reads the labels as inputs, so that their tokens are counted as well.
    """

    def __init__(self, accelerator: Accelerator, labels_are_inputs: bool):
        self._accelerator = accelerator
        self._labels_are_inputs = labels_are_inputs
        self._counts = torch.zeros(3, dtype=torch.long, device=accelerator.device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, at the beginning of training or when training resumes from a checkpoint."""
        self._begin = self._resumed = time.monotonic()
        self._seconds = 0.0
        self._first_step = state.global_step
        if self._accelerator.device.type == "cuda":  # so that `memory_gib` leaves out the trial steps before training
            torch.cuda.reset_peak_memory_stats(self._accelerator.device)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the seconds since the previous step to the training time, including the loading of the batches."""
        now = time.monotonic()
        self._seconds += now - self._resumed
        self._resumed = now

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the time of an evaluation or a checkpoint out of the training time."""
        self._resumed = time.monotonic()

    on_save = on_evaluate

    def count(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Add a batch to three counts: tokens without padding, tokens with padding, and rows."""
        masks = [batch["document_ids"] >= 0] if "document_ids" in batch else []
        masks += [batch["attention_mask"]] if "attention_mask" in batch else []
        masks += [batch["labels"] != -100] if self._labels_are_inputs else []
        for mask in masks:
            self._counts[0] += mask.sum().to(self._counts.device)  # on a GPU, this does not wait for the result
            self._counts[1] += mask.numel()
        self._counts[2] += len(batch["labels"])

    def entry(self, state: Any) -> dict[str, float]:
        """Return the speed since the previous log entry, the memory and the time left.

        All processes must call this method.

        Returns:
            A dict with these numbers:

            - `tokens_per_second`: the tokens of all processes together, without padding;
            - `padding`: the share of padding in the tokens of the batches;
            - `images_per_second`, instead of the first two, if the batches have no tokens;
            - `memory_gib`: the largest memory allocated on the CUDA device of this process since training began; on
              other devices, the memory that this process occupies now;
            - `seconds_left`: estimated from the mean time of a step, evaluations included.
        """
        tokens, slots, rows = self._accelerator.reduce(self._counts, "sum").tolist()
        seconds, passed = max(self._seconds, 1e-9), time.monotonic() - self._begin
        speed = {"tokens_per_second": tokens / seconds, "padding": 1 - tokens / slots} if slots else {}
        self._counts.zero_()
        self._seconds = 0.0
        steps = max(1, state.global_step - self._first_step)
        return {
            **(speed or {"images_per_second": rows / seconds}),
            "memory_gib": memory_in_use(self._accelerator.device) / GIB,
            "seconds_left": (state.max_steps - state.global_step) * passed / steps,
        }


def memory_in_use(device: torch.device) -> int:
    """Return the largest number of bytes allocated on a CUDA device; for other devices, the memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
