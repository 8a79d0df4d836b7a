# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What happened in training: losses and scores an epoch as JSON and CSV, and the loss curve as a picture."""

import csv
import time
from functools import partial
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback

from .files import written_whole
from .report_parts import write_pictures
from .run_folder import RunFolder

_COLUMNS = ("epoch", "step", "train_loss", "validation_loss", "validation_perplexity", "validation_bleu")


def epoch_records(log_history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record an evaluation, from the Trainer's log.

    `train_loss` is the mean over the steps since the evaluation before, label smoothing included;
    `validation_loss` is the plain loss per token, whose exponential is the perplexity.
    """
    records, since, last_step = [], [], 0
    for entry in log_history:
        if "loss" in entry:
            since.append((entry["loss"], entry["step"] - last_step))
            last_step = entry["step"]
        elif "eval_loss" in entry:
            steps = sum(count for _, count in since)
            mean = sum(loss * count for loss, count in since) / steps if steps else None
            scores = {f"validation_{k[5:]}": v for k, v in entry.items() if k in _KEPT}
            records.append({"epoch": entry["epoch"], "step": entry["step"], "train_loss": mean, **scores})
            since = []
    return records


_KEPT = ("eval_loss", "eval_perplexity", "eval_bleu")


class HistoryWriter(TrainerCallback):
    """Keeps `metrics.json`, `loss_curve.csv` and `loss_curve.png` of a run up to date after each evaluation.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self._since = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Have the training loss up to an evaluation logged before it, whatever `logging_steps` is."""
        control.should_log = control.should_log or control.should_evaluate

    on_epoch_end = on_step_end

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the files, in one process only."""
        if not state.is_world_process_zero:
            return
        now = time.monotonic()
        metrics = self.folder.metrics()
        metrics["finished"] = False
        metrics["training_seconds"] = round(metrics.get("training_seconds", 0.0) + now - self._since, 1)
        metrics["epochs"] = epoch_records(state.log_history)
        self._since = now
        self.folder.write_metrics(metrics)
        write_curve(self.folder.path, metrics["epochs"])


class EarlyStopping(EarlyStoppingCallback):
    """Early stopping that goes on counting where a run was stopped."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the evaluations since the best one."""
        super().on_train_begin(args, state, control, **kwargs)
        best = state.best_global_step or 0
        self.early_stopping_patience_counter = sum(
            entry["step"] > best for entry in state.log_history if "eval_loss" in entry
        )


def write_curve(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write the records as `loss_curve.csv`, and as `loss_curve.png` where matplotlib is installed."""
    with (
        written_whole(folder / "loss_curve.csv") as path,
        open(path, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(records)
    write_pictures(folder, {"loss_curve": partial(_draw, records=records)}, "The loss curve is not drawn")


def _draw(figure: Any, records: list[dict[str, Any]]) -> Any:
    figure.set_size_inches(7, 4)
    epochs = [record["epoch"] for record in records]
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss (nats a token)")
    for name, label in (("train_loss", "training"), ("validation_loss", "validation")):
        axes.plot(epochs, [record[name] for record in records], marker=".", label=label)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=2, frameon=False)
    if "validation_bleu" in records[-1]:
        bleu = axes.twinx()
        bleu.plot(epochs, [record["validation_bleu"] for record in records], "k:", marker=".")
        bleu.set_ylabel("validation BLEU (dotted)")
    return figure
