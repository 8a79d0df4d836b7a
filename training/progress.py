# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What is shown while a model trains: its speed, the time left, and some of what it generates."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback

from .inference import one_line, write_tsv

SAMPLES_FILE = "samples_by_epoch.tsv"


class Sample(NamedTuple):
    """One row of the validation set, and what the model makes of it."""

    source: str
    reference: str
    output: str


class HasSamples(Protocol):
    """A `compute_metrics` that keeps some samples of the last evaluation."""

    samples: list[Sample]


class SampleRow(NamedTuple):
    """A sample, and when it was generated: a row of `SAMPLES_FILE`."""

    epoch: str
    step: int
    source: str
    reference: str
    output: str


def sample_rows(number: int) -> list[int]:
    """The first, the middle and the last of `number` rows."""
    return sorted({0, number // 2, number - 1})


def take_samples(sources: Sequence[str], references: Sequence[str], outputs: Mapping[int, str]) -> list[Sample]:
    """Three rows, the same ones in each evaluation.

    Args:
        sources, references: by row; without sources there are no samples.
        outputs: what was generated, by the number of the row.
    """
    rows = sample_rows(len(sources)) if sources else []
    return [Sample(sources[row], references[row], one_line(outputs[row])) for row in rows]


class SampleWriter(TrainerCallback):
    """After each evaluation prints the samples, and adds them to `SAMPLES_FILE` in the folder of the run.

    Args:
        folder: the run's.
        metrics: the Trainer's `compute_metrics`.
    """

    def __init__(self, folder: Path, metrics: HasSamples):
        self.path = folder / SAMPLES_FILE
        self.metrics = metrics

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print and write, in one process only; rows from an evaluation that is repeated are replaced."""
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
    """After each evaluation prints how much was trained on in a second, and how long the rest will take.

    Args:
        counts: of the training split, as the run's summary has them: tokens if there are any, else rows.
    """

    def __init__(self, counts: Mapping[str, int]):
        tokens = sum(number for name, number in counts.items() if name.endswith("tokens"))
        self.an_epoch, self.unit = (tokens, "tokens") if tokens else (next(iter(counts.values())), next(iter(counts)))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to count, also where a run is taken up."""
        self._begin = self._since = time.monotonic()
        self._first_step, self._epoch = state.global_step, state.epoch or 0.0
        self._seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock before an evaluation."""
        self._seconds = time.monotonic() - self._since

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print, in one process only."""
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
    """The Trainer's progress bar, which begins at the step of the checkpoint: its rate is that of this session."""

    training_bar: Any
    prediction_bar: Any

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw the bar."""
        super().on_train_begin(args, state, control, **kwargs)
        self.current_step = state.global_step
        if self.training_bar is not None:
            self.training_bar.initial = self.training_bar.n = self.training_bar.last_print_n = state.global_step

    def close(self) -> None:
        """End the bars that an error or an interrupt left open, so that its message begins a line of its own."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()


__all__ = ["SAMPLES_FILE", "Pace", "ProgressFromStep", "Sample", "SampleWriter", "sample_rows", "take_samples"]
