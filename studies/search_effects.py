# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Estimates the effects of hyperparameters, and of their pairs, on the score by least squares over the trials.

In a full grid, and in a balanced fraction of a full grid, the effect of a hyperparameter is the difference between the
mean scores of two of its values. Least squares also apply if some trials are missing, or if a sampler drew the values.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .search_results import TrialResult
from .search_space import Hyperparameter


@dataclass(frozen=True)
class Effect:
    """The effect of one hyperparameter on the score, or the interaction of two hyperparameters.

    Args:
        names: the name of the hyperparameter, or the names of the two hyperparameters.
        steps: for each name, the two values between which the hyperparameter changes; for a range, its two ends.
        difference: how much the score grows by the change. For a pair: how much more the score grows by the change of
            the second hyperparameter if the first hyperparameter has changed.
        spread: the standard error of the difference, estimated from the residuals of the linear model; NaN if the model
            has as many coefficients, with the constant, as there are trials.
        noise: the standard error that the difference has if seeds alone make the scores vary; NaN if the standard
            deviation of the score over seeds is not known.
    """

    names: tuple[str, ...]
    steps: tuple[tuple[Any, Any], ...]
    difference: float
    spread: float
    noise: float


def main_effects(space: Sequence[Hyperparameter], results: Sequence[TrialResult], deviation: float) -> list[Effect]:
    """Estimate the effect of each hyperparameter, in a linear model of the score without interactions.

    Args:
        space: the hyperparameters.
        results: complete trials.
        deviation: the standard deviation of the score over seeds; NaN if it is not known.

    Returns:
        For each hyperparameter with a list of values, the effect of a change from the first listed value that occurs in
        `results` to each other value that occurs there; for each range, one effect. The list is empty if the trials
        cannot tell the effects apart.
    """
    columns = _columns(space, results)
    found = _least_squares([values for _, _, values in columns], results, deviation)
    # `found` is empty if the effects cannot be told apart
    return [Effect((h.name,), (step,), *numbers) for (h, step, _), numbers in zip(columns, found, strict=False)]


def pair_effects(space: Sequence[Hyperparameter], results: Sequence[TrialResult], deviation: float) -> list[Effect]:
    """Estimate the interaction of each pair of hyperparameters, each in a linear model with all main effects.

    The arguments are those of `main_effects`. A pair is left out if the trials cannot tell its interaction
    apart from the other effects.
    """
    columns, effects = _columns(space, results), []
    for one, other in itertools.combinations(space, 2):
        pairs = [
            ((step, other_step), values * other_values)
            for (h, step, values), (other_h, other_step, other_values) in itertools.product(columns, columns)
            if h is one and other_h is other
        ]
        model = [values for _, _, values in columns] + [values for _, values in pairs]
        found = _least_squares(model, results, deviation)[len(columns) :]
        for (steps, _), numbers in zip(pairs, found, strict=False):
            effects.append(Effect((one.name, other.name), steps, *numbers))
    return effects


def _columns(
    space: Sequence[Hyperparameter], results: Sequence[TrialResult]
) -> list[tuple[Hyperparameter, tuple[Any, Any], np.ndarray]]:
    """Return a tuple for each column of the linear model: the hyperparameter, the two compared values, and the column.

    A column has a number for each trial. For a hyperparameter with a list of values, the number is 1 if the trial has
    the second of the two values, and else 0. For a range, the number is the position of the trial's value in the range,
    from 0 at the lower end to 1 at the upper end.
    """
    columns: list[tuple[Hyperparameter, tuple[Any, Any], np.ndarray]] = []
    for h in space:
        found = [result.values[h.name] for result in results]
        if not h.values:
            columns.append((h, (h.low, h.high), np.array([h.place(value) for value in found])))
        tried = [value for value in h.values if value in found]
        for value in tried[1:]:
            columns.append((h, (tried[0], value), np.array([float(other == value) for other in found])))
    return columns


def _least_squares(
    columns: Sequence[np.ndarray], results: Sequence[TrialResult], deviation: float
) -> list[tuple[float, float, float]]:
    """Fit the scores by a constant and the columns, and return three numbers for each column.

    The numbers are the coefficient, its standard error from the residuals, and its standard error from the seeds. The
    list is empty if there are no columns, or if the columns and the constant are not linearly independent.
    """
    scores = np.array([result.score for result in results], dtype=float)
    matrix = np.column_stack([np.ones(len(scores)), *columns])
    if not columns or np.linalg.matrix_rank(matrix) < matrix.shape[1]:
        return []
    inverse = np.linalg.inv(matrix.T @ matrix)
    coefficients = inverse @ matrix.T @ scores
    residuals, free = scores - matrix @ coefficients, len(scores) - matrix.shape[1]
    residual_deviation = math.sqrt(residuals @ residuals / free) if free else math.nan
    factors = np.sqrt(np.diag(inverse))
    return [
        (float(coefficient), float(factor * residual_deviation), float(factor * deviation))
        for coefficient, factor in zip(coefficients[1:], factors[1:], strict=True)
    ]
