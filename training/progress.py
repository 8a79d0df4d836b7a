# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Callbacks that show the progress of training: the speed, the time left, and sample outputs of the model."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback

from .inference import one_line, write_tsv

SAMPLES_FILE = "samples_by_epoch.tsv"


class Sample(NamedTuple):
    """One row of the validation set, with the text that the model generates for it."""

    source: str
    reference: str
    output: str


class HasSamples(Protocol):
    """A `compute_metrics` function of the Trainer that keeps samples of the last evaluation."""

    samples: list[Sample]


class SampleRow(NamedTuple):
    """A row of `SAMPLES_FILE`: a sample, with the epoch and the training step of its evaluation."""

    epoch: str
    step: int
    source: str
    reference: str
    output: str


def sample_rows(number: int) -> list[int]:
    """The indices of the first, the middle and the last of `number` rows."""
    return sorted({0, number // 2, number - 1})


def take_samples(sources: Sequence[str], references: Sequence[str], outputs: Mapping[int, str]) -> list[Sample]:
    """The samples of three rows of the validation set, which are the same rows in each evaluation.

    Args:
        sources, references: the texts of all rows; if `sources` is empty, there are no samples.
        outputs: the generated texts by the index of their row.
    """
    rows = sample_rows(len(sources)) if sources else []
    return [Sample(sources[row], references[row], one_line(outputs[row])) for row in rows]


class SampleWriter(TrainerCallback):
    """Prints the samples after each evaluation, and adds them to `SAMPLES_FILE` in the folder of the run.

    Args:
        folder: the folder of the run.
        metrics: the `compute_metrics` function of the Trainer.
    """

    def __init__(self, folder: Path, metrics: HasSamples):
        self.path = folder / SAMPLES_FILE
        self.metrics = metrics

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print and write the samples in the main process; those of an evaluation that is repeated are replaced."""
        if not state.is_world_process_zero or not self.metrics.samples:
            return
        for sample in self.metrics.samples:
            tqdm.write("\n".join(f"{name + ':':<11}{text}" for name, text in sample._asdict().items()))
        rows = [row for row in self._written() if row.step < state.global_step]
        rows += [SampleRow(f"{state.epoch:.4g}", state.global_step, *sample) for sample in self.metrics.samples]
        write_tsv(self.path, rows)

    def _written(self) -> list[SampleRow]:
        lines = self.path.read_text(encoding="utf-8").split("\n")[1:-1] if self.path.exists() else []
        return [SampleRow(epoch, int(step), *texts) for epoch, step, *texts in (line.split("\t") for line in lines)]


class Pace(TrainerCallback):
    """Prints the training speed and the estimated time left after each evaluation.

    Args:
        counts: the summary of the training split. The speed is in tokens if the summary counts tokens, else in rows.
    """

    def __init__(self, counts: Mapping[str, int]):
        tokens = sum(number for name, number in counts.items() if name.endswith("tokens"))
        self.an_epoch, self.unit = (tokens, "tokens") if tokens else (next(iter(counts.values())), next(iter(counts)))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, at the beginning of training or when training resumes from a checkpoint."""
        self._begin = self._since = time.monotonic()
        self._first_step, self._epoch = state.global_step, state.epoch or 0.0
        self._seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the time of the training steps, which must not include an evaluation."""
        self._seconds = time.monotonic() - self._since

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print the speed and the time left in the main process."""
        now, steps = time.monotonic(), state.global_step - self._first_step
        if state.is_world_process_zero and steps and self._seconds:
            speed = self.an_epoch * (state.epoch - self._epoch) / self._seconds
            left = (state.max_steps - state.global_step) * (now - self._begin) / steps
            tqdm.write(
                f"epoch {state.epoch:.4g}, step {state.global_step:,} of {state.max_steps:,}: {speed:,.0f} {self.unit} "
                f"a second, {tqdm.format_interval(left)} left"
            )
        self._since, self._epoch = now, state.epoch


class ProgressFromStep(ProgressCallback):
    """The Trainer's progress bar, started at the step of the checkpoint: earlier steps do not count as speed."""

    training_bar: Any
    prediction_bar: Any

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw the bar at the step from which training starts."""
        super().on_train_begin(args, state, control, **kwargs)
        self.current_step = state.global_step
        if self.training_bar is not None:
            self.training_bar.initial = self.training_bar.n = self.training_bar.last_print_n = state.global_step

    def close(self) -> None:
        """Close bars that an error or an interrupt left open, so that the next message starts on a line of its own."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()


__all__ = ["SAMPLES_FILE", "Pace", "ProgressFromStep", "Sample", "SampleWriter", "sample_rows", "take_samples"]
