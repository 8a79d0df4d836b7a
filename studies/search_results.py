# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reads the results of the trials of a search from the stored study, and orders them by score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial of a search. A field that is not known, for example before the trial has ended, is None.

    Args:
        number: the number of the trial, which is the name of its folder.
        state: `complete`, `pruned`, `failed`, or `left` for a trial that has not ended.
        values: the value of each hyperparameter, by its name.
        seed: the seed of a trial that repeats a cell (a combination of values) with another seed; None for the other
            trials.
        score: the metric of the finished model on the validation data; for a pruned trial, the metric at its last
            evaluation.
        train_loss: the mean training loss of the steps between the best evaluation and the evaluation before it, with
            label smoothing and dropout.
        validation_loss: the loss of the best evaluation.
        best_step: the step of the best evaluation.
        parameters: the number of parameters.
        seconds: the time of training.
        error: the reason why the trial failed; None for other trials.
    """

    number: int
    state: str
    values: dict[str, Any]
    seed: int | None = None
    score: float | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    best_step: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    error: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the trial is complete, pruned or failed."""
        return self.state != "left"

    @property
    def gap(self) -> float | None:
        """The train–dev gap: validation loss minus training loss at the best evaluation; None if a loss is unknown."""
        if self.train_loss is None or self.validation_loss is None:
            return None
        return self.validation_loss - self.train_loss


_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def results_of(study: optuna.Study) -> list[TrialResult]:
    """Return the results of all trials of the study, ordered by number."""
    return [
        TrialResult(
            number=trial.number,
            state=_STATES.get(trial.state, "left"),
            values=trial.params,
            seed=trial.user_attrs.get("seed"),
            score=trial.value,
            seconds=trial.user_attrs.get("training_seconds"),
            **{
                name: trial.user_attrs.get(name)
                for name in ("train_loss", "validation_loss", "best_step", "parameters", "error")
            },
        )
        for trial in study.get_trials(deepcopy=False)
    ]


def ranked(results: Sequence[TrialResult], higher_is_better: bool) -> list[TrialResult]:
    """Order the results: complete trials, best first; then pruned, failed and unfinished trials, each by number."""

    def key(result: TrialResult) -> tuple[int, float, int]:
        place = [*_STATES.values(), "left"].index(result.state)
        score = 0.0 if place or result.score is None else result.score
        return place, -score if higher_is_better else score, result.number

    return sorted(results, key=key)


def repeats_of_cell(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Return one complete trial for each seed of the repeated cell, including the seed that all other trials have.

    The list is empty if the search repeats no cell.
    """
    repeated = next((result.values for result in results if result.seed is not None), None)
    found = [result for result in results if result.state == "complete" and result.values == repeated]
    return list({result.seed: result for result in found}.values())  # `random` may draw the cell several times


def folder_name(number: int) -> str:
    """Return the name of the folder of a trial: its number with at least three digits."""
    return f"{number:03d}"


def describe_values(values: dict[str, Any]) -> str:
    """Format the hyperparameters of a trial as a text of one line: `name value, name value`."""
    return ", ".join(f"{name} {show_value(value)}" for name, value in values.items())


def show_value(value: Any) -> str:
    """Format the value of a hyperparameter as YAML writes it; a float is rounded to four significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
