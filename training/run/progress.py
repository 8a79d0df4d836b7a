# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Callbacks that show the progress of training: progress bar, log entries, and sample outputs of the model."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from ..inference import one_line, write_tsv
from ..options.arguments import BY_METRIC

SAMPLES_FILE = "samples_by_epoch.tsv"
LONGEST_SAMPLE = 120
"""The largest number of characters of a text in messages; longer texts are cut."""


class Sample(NamedTuple):
    """A row of the validation set: its source, its reference, and the text that the model generates for it."""

    source: str
    reference: str
    output: str


class SampleRow(NamedTuple):
    """A row of `SAMPLES_FILE`: a sample, with the epoch and the training step of its evaluation."""

    epoch: str
    step: int
    source: str
    reference: str
    output: str


def sample_rows(number: int) -> list[int]:
    """Return the indices of the first, the middle and the last of `number` rows."""
    return sorted({0, number // 2, number - 1})


def take_samples(sources: Sequence[str], references: Sequence[str], outputs: Mapping[int, str]) -> list[Sample]:
    """Return the samples of the first, the middle and the last row of the validation set.

    Args:
        sources, references: the texts of all rows; if `sources` is empty, there are no samples.
        outputs: a dict from the index of a row to its generated text.
    """
    rows = sample_rows(len(sources)) if sources else []
    return [Sample(sources[row], references[row], one_line(outputs[row])) for row in rows]


def shorten(text: str) -> str:
    """Cut a text to `LONGEST_SAMPLE` characters, with a space for each line break, for messages."""
    text = one_line(text[: 2 * LONGEST_SAMPLE])
    return text if len(text) <= LONGEST_SAMPLE else f"{text[: LONGEST_SAMPLE - 1]}…"


class SampleWriter(TrainerCallback):
    """Prints the `Sample`s of each evaluation, and adds them to `SAMPLES_FILE` in the folder of the run.

    Args:
        folder: the folder of the run.
        metrics: the `compute_metrics` function of the Trainer, which keeps the samples of the last evaluation.
    """

    def __init__(self, folder: Path, metrics: Any):
        self.path = folder / SAMPLES_FILE
        self.metrics = metrics

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print the samples and write them to the file, in the main process only.

        Rows of this step and of later steps, which the run wrote before it was interrupted, are dropped from the file.
        """
        if not state.is_world_process_zero or not self.metrics.samples:
            return
        for sample in self.metrics.samples:
            tqdm.write("\n".join(f"{name + ':':<11}{shorten(text)}" for name, text in sample._asdict().items()))
        rows = [row for row in self._written() if row.step < state.global_step]
        rows += [SampleRow(f"{state.epoch:.4g}", state.global_step, *sample) for sample in self.metrics.samples]
        write_tsv(self.path, rows)

    def _written(self) -> list[SampleRow]:
        lines = self.path.read_text(encoding="utf-8").split("\n")[1:-1] if self.path.exists() else []
        return [SampleRow(epoch, int(step), *texts) for epoch, step, *texts in (line.split("\t") for line in lines)]


def count_tokens(counts: Mapping[str, int]) -> int:
    """Return the number of tokens of a split, whose summary is `counts`; 0 for a split without text."""
    return sum(number for name, number in counts.items() if name.endswith("tokens"))


def _clock() -> str:
    return time.strftime("%H:%M:%S")


@contextmanager
def hidden_bars() -> Iterator[None]:
    """Hide the progress bars of the libraries datasets and transformers until the end of the `with` block."""
    had_bars = not are_progress_bars_disabled(), is_progress_bar_enabled()
    disable_progress_bars()
    disable_progress_bar()
    try:
        yield
    finally:
        for had, enable in zip(had_bars, (enable_progress_bars, enable_progress_bar), strict=True):
            if had:
                enable()


class ScheduleNotices(TrainerCallback):
    """Prints messages about the learning rate schedule at the beginning of training.

    Args:
        planned_steps: the total number of training steps that the resumed checkpoint was saved with; None if the run is
            not resumed.
    """

    def __init__(self, planned_steps: int | None):
        self.planned_steps = planned_steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print the warning of `warmup_warning`, and a message if the schedule differs from that for `planned_steps`.

        The schedule may differ if a resumed run has another total number of steps. Only the main process prints.
        """
        if not state.is_world_process_zero:
            return
        if warning := warmup_warning(args, state.max_steps):
            tqdm.write(warning)
        if self.planned_steps is None or self.planned_steps == state.max_steps:
            return
        before, after = map(args.get_warmup_steps, (self.planned_steps, state.max_steps))
        schedule = _schedule(args)
        if schedule in _WITHOUT_STEPS or (before == after and schedule in _OF_WARMUP_STEPS):
            return
        warmup = f"; with warmup_steps {args.warmup_steps:g} the warm-up now has {after:,} steps instead of {before:,}"
        tqdm.write(
            f"The run was planned for {self.planned_steps:,} steps and now has {state.max_steps:,}, which changes the "
            f"learning rate of the remaining steps{warmup if before != after else ''}."
        )


def warmup_warning(args: Any, steps: int) -> str | None:
    """Return a warning if the warm-up is at least as long as a training of `steps` steps; else None."""
    warmup = args.get_warmup_steps(steps)
    if warmup < max(steps, 1) or _schedule(args) in _WITHOUT_STEPS:  # these schedules have no warm-up
        return None
    return (
        f"Warning: the warm-up has {warmup:,} steps and the training {steps:,}, so the learning rate never falls, and "
        "may stay far below learning_rate: give fewer warmup_steps, or a share of all steps, such as 0.1."
    )


def _schedule(args: Any) -> str:
    return str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))


_WITHOUT_STEPS = ("constant", *BY_METRIC)
"""Learning rate schedules that depend neither on the total number of steps nor on the warm-up."""
_OF_WARMUP_STEPS = ("inverse_sqrt", "constant_with_warmup")
"""Learning rate schedules that depend on the total number of steps only if the warm-up is a share of the steps."""


def _as_texts(logs: Mapping[str, Any]) -> dict[str, str]:
    """Convert a log entry to texts for printing: `seconds_left` becomes `time_left`, and `total_flos` is dropped."""
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in logs.items()}
    texts |= {name: f"{value:,.0f}" for name, value in logs.items() if name.endswith("_per_second") and value >= 1000}
    if "seconds_left" in texts:
        texts["time_left"] = tqdm.format_interval(float(texts.pop("seconds_left")))
    texts.pop("total_flos", None)
    return texts


def _log_line(logs: Mapping[str, Any], state: Any) -> str:
    values = ", ".join(f"{name} {text}" for name, text in _as_texts(logs).items())
    return f"{_clock()} step {state.global_step:,} of {state.max_steps:,}: {values}"


class TimedPrinter(PrinterCallback):
    """Prints each log entry of the Trainer with the time of day, in a run without progress bars."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print the log entry in the main process of each machine."""
        if state.is_local_process_zero:
            print(_log_line(logs, state), flush=True)


class ProgressFromStep(ProgressCallback):
    """Shows the Trainer's progress bar; in a resumed run, the bar starts at the step of the checkpoint."""

    training_bar: Any
    prediction_bar: Any

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the progress bar at the step from which training starts."""
        super().on_train_begin(args, state, control, **kwargs)
        self.current_step = state.global_step
        self._shown: dict[str, str] = {}
        if self.training_bar is not None:
            self.training_bar.initial = self.training_bar.n = self.training_bar.last_print_n = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """In the main process, print the log entry, and show the newest loss, score, speed and padding in the bar."""
        if state.is_world_process_zero and self.training_bar is not None:
            self.training_bar.write(_log_line(logs, state))
            score = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
            names = ("loss", score, "tokens_per_second", "images_per_second", "padding")
            self._shown |= {name: text for name, text in _as_texts(logs).items() if name in names}
            self.training_bar.set_postfix(self._shown, refresh=False)

    def close(self) -> None:
        """Close bars that an error or an interrupt left open, so that the next message starts on a line of its own."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()
