# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The history of training: losses and scores of each evaluation as JSON and CSV, and the loss curve as a picture."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback

from locant.utils.files import write_csv

from .pictures import write_pictures
from .run_folder import RunFolder

_OF_TIME = ("runtime", "per_second", "preparation_time")  # suffixes of the names of the Trainer's time metrics
_SECONDS_BETWEEN_PICTURES = 10.0


def epoch_records(log_history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one record for each evaluation, from the Trainer's log.

    A record has the `epoch` and the `step` of the evaluation. `train_loss` is the mean training loss, including label
    smoothing, of the steps since the previous evaluation; it is None if no loss was logged since then. The metrics of
    the evaluation have the prefix `validation_`; times and speeds are left out. `validation_loss` is computed without
    label smoothing.
    """
    records, since, last_step = [], [], 0
    for entry in log_history:
        if "loss" in entry:
            since.append((entry["loss"], entry["step"] - last_step))
            last_step = entry["step"]
        elif "eval_loss" in entry:
            steps = sum(count for _, count in since)
            mean = sum(loss * count for loss, count in since) / steps if steps else None
            scores = {
                f"validation_{name.removeprefix('eval_')}": value
                for name, value in entry.items()
                if name.startswith("eval_") and not name.endswith(_OF_TIME)
            }
            records.append({"epoch": entry["epoch"], "step": entry["step"], "train_loss": mean, **scores})
            since = []
    return records


class HistoryWriter(TrainerCallback):
    """Updates `metrics.json` and `loss_curve.csv` of a run after each evaluation, and draws `loss_curve.png`.

    The picture is drawn after an evaluation, but at most every ten seconds, and at the end of training.

    Args:
        folder: the folder of the run.
        measures: the names of the metrics of an evaluation.
    """

    def __init__(self, folder: RunFolder, measures: Iterable[str]):
        self.folder = folder
        self.measures = tuple(measures)
        self._since = self._last_drawing = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set `logging_steps`, `eval_steps` and `save_steps` in `state` from the options, also when a run is resumed.

        Without this method, the Trainer would use the values of the checkpoint in a resumed run.
        """
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the training loss before each evaluation, even if the step is not a multiple of `logging_steps`."""
        control.should_log = control.should_log or control.should_evaluate

    on_epoch_end = on_step_end

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Update `metrics.json` and `loss_curve.csv`, in the main process only.

        `loss_curve.png` is drawn too if more than ten seconds have passed since the last drawing, or, before the first
        drawing, since this callback was made.
        """
        if not state.is_world_process_zero:
            return
        now = time.monotonic()
        metrics = self.folder.metrics()
        metrics["finished"] = False
        metrics["training_seconds"] = round(metrics.get("training_seconds", 0.0) + now - self._since, 1)
        metrics["epochs"] = epoch_records(state.log_history)
        self._since = now
        self.folder.write_metrics(metrics)
        write_curve(self.folder.path, metrics["epochs"], self.measures)
        if now - self._last_drawing > _SECONDS_BETWEEN_PICTURES:
            draw_curve(self.folder.path, metrics["epochs"], self.measures)
            self._last_drawing = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw all evaluations as `loss_curve.png`, in the main process only.

        The picture may lack the last evaluations, also those before the checkpoint of a resumed run, which may have
        been killed before it drew them.
        """
        records = epoch_records(state.log_history)
        if state.is_world_process_zero and records:
            draw_curve(self.folder.path, records, self.measures)


class EarlyStopping(EarlyStoppingCallback):
    """Stops training early as `EarlyStoppingCallback` does, but counts the evaluations before a resumption as well."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore the count of evaluations without an improvement; stop at once if the patience is used up.

        The count begins at the best evaluation that has a checkpoint. As in training, a better evaluation without a
        checkpoint sets the count to 0.
        """
        super().on_train_begin(args, state, control, **kwargs)
        metric = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        for entry in state.log_history:
            if metric in entry and entry["step"] > (state.best_global_step or 0):
                self.check_metric_value(args, state, control, entry[metric])
        control.should_training_stop = self.early_stopping_patience_counter >= self.early_stopping_patience


def write_curve(folder: Path, records: list[dict[str, Any]], measures: Sequence[str]) -> None:
    """Write the records of all evaluations, from `epoch_records`, to `loss_curve.csv` in `folder`."""
    columns = ["epoch", "step", "train_loss", *(f"validation_{name}" for name in _in_order(measures))]
    write_csv(folder / "loss_curve.csv", columns, ([record.get(name) for name in columns] for record in records))


def draw_curve(folder: Path, records: list[dict[str, Any]], measures: Sequence[str]) -> None:
    """Draw the losses and a score of all evaluations as `loss_curve.png`; without matplotlib, log a warning instead."""
    draw = partial(_draw, records=records, measures=measures)
    write_pictures(folder, {"loss_curve": draw}, "The loss curve is not drawn")


def _in_order(measures: Sequence[str]) -> list[str]:
    """Return the names in `measures`: first `loss` and `perplexity`, then the other names in their given order."""
    losses = [name for name in _LOSSES if name in measures]
    return losses + [name for name in measures if name not in losses]


_LOSSES = ("loss", "perplexity")


def _draw(figure: Any, records: list[dict[str, Any]], measures: Sequence[str]) -> Any:
    """Draw the training and validation loss and, on a second y-axis, the first metric but `loss` and `perplexity`."""
    figure.set_size_inches(7, 4)
    epochs = [record["epoch"] for record in records]
    unit = " (nats per token)" if "perplexity" in measures else ""
    axes = figure.add_subplot(xlabel="epoch", ylabel=f"loss{unit}")
    curves = (("train_loss", "training (mean since the last evaluation)"), ("validation_loss", "validation"))
    for name, label in curves:
        axes.plot(epochs, [record[name] for record in records], marker=".", label=label)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=2, frameon=False)
    score = next((name for name in measures if name not in _LOSSES), None)
    if score is not None and f"validation_{score}" in records[-1]:
        scores = axes.twinx()
        scores.plot(epochs, [record[f"validation_{score}"] for record in records], "k:", marker=".")
        scores.set_ylabel(f"validation {score.upper() if score == 'bleu' else score} (dotted)")
    return figure
