# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The effects of hyperparameters, and their errors, on scores whose effects can be computed by hand."""

import math

import pytest

from locant.studies.search_effects import main_effects, pair_effects
from locant.studies.search_results import TrialResult, ranked
from locant.studies.search_space import Hyperparameter

A, B = (Hyperparameter(name, (name,), ("low", "high")) for name in "ab")


def trials(scores):
    """A complete trial for each cell, a tuple of the values of `a` and `b`, and its score."""
    return [
        TrialResult(number, "complete", dict(zip("ab", cell, strict=False)), score=score)
        for number, (cell, score) in enumerate(scores)
    ]


CELLS = [("low", "low"), ("low", "high"), ("high", "low"), ("high", "high")]
GRID = trials(zip(CELLS, (10.0, 12.0, 11.0, 15.0), strict=True))


def test_a_main_effect_is_the_difference_of_the_means():
    a, b = main_effects([A, B], GRID, deviation=0.5)
    assert (a.names, a.steps) == (("a",), (("low", "high"),))
    assert a.difference == pytest.approx((11 + 15) / 2 - (10 + 12) / 2)
    assert b.difference == pytest.approx((12 + 15) / 2 - (10 + 11) / 2)


def test_its_errors_are_those_of_a_difference_of_two_means():
    # without interactions, the scores would be 9.5, 12.5, 11.5, 14.5: four residuals of 0.5, and one degree of freedom
    for effect in main_effects([A, B], GRID, deviation=0.5):
        assert effect.spread == pytest.approx(1.0 * math.sqrt(1 / 2 + 1 / 2))
        assert effect.noise == pytest.approx(0.5 * math.sqrt(1 / 2 + 1 / 2))


def test_an_interaction_is_the_difference_of_two_differences():
    [pair] = pair_effects([A, B], GRID, deviation=0.5)
    assert pair.names == ("a", "b") and pair.steps == (("low", "high"), ("low", "high"))
    assert pair.difference == pytest.approx((15 - 11) - (12 - 10))
    assert pair.noise == pytest.approx(0.5 * 2)  # of four scores
    assert math.isnan(pair.spread)  # four scores, and four effects with the mean


def test_repeated_trials_give_an_interaction_its_error():
    scores = [*zip(CELLS, (9.0, 11.0, 10.0, 14.0), strict=True), *zip(CELLS, (11.0, 13.0, 12.0, 16.0), strict=True)]
    [pair] = pair_effects([A, B], trials(scores), deviation=math.nan)
    assert pair.difference == pytest.approx(2)
    assert pair.spread == pytest.approx(math.sqrt(8 / 4) * math.sqrt(4 / 2))  # 8 residuals of 1, 4 degrees of freedom
    assert math.isnan(pair.noise)


def test_a_missing_trial_does_not_bias_the_effects():
    c = Hyperparameter("c", ("c",), (1, 2))
    cells = [(a, b, n) for a, b in CELLS for n in (1, 2)]
    full = [
        TrialResult(0, "complete", {"a": a, "b": b, "c": n}, score=5.0 * (a == "high") - (b == "high") + 2 * n)
        for a, b, n in cells
    ]
    found = main_effects([A, B, c], full[1:], deviation=math.nan)
    assert [effect.difference for effect in found] == [pytest.approx(value) for value in (5, -1, 2)]


def test_each_value_is_compared_with_the_first():
    h = Hyperparameter("a", ("a",), (1, 2, 3))
    found = main_effects([h], trials([((1,), 4.0), ((2,), 7.0), ((3,), 5.0)]), deviation=math.nan)
    assert [(effect.steps[0], effect.difference) for effect in found] == [
        ((1, 2), pytest.approx(3)),
        ((1, 3), pytest.approx(1)),
    ]


def test_a_range_has_the_effect_of_a_line_between_its_ends():
    h = Hyperparameter("a", ("a",), low=0.001, high=0.1, log=True)
    found = trials([((0.001,), 1.0), ((0.01,), 2.0), ((0.1,), 3.0)])
    [effect] = main_effects([h], found, deviation=math.nan)
    assert effect.steps == ((0.001, 0.1),) and effect.difference == pytest.approx(2)


def test_too_few_trials_have_no_effects():
    assert main_effects([A, B], [GRID[0], GRID[3]], deviation=1) == []
    assert pair_effects([A, B], GRID[:3], deviation=1) == []


def test_trials_are_ranked_by_score_with_those_that_have_no_model_last():
    states = [
        ("failed", None),
        ("complete", 1.0),
        ("left", None),
        ("complete", 3.0),
        ("pruned", 9.0),
        ("complete", 2.0),
    ]
    found = [TrialResult(number, state, {}, score=score) for number, (state, score) in enumerate(states)]
    assert [result.number for result in ranked(found, higher_is_better=True)] == [3, 5, 1, 4, 0, 2]
    assert [result.number for result in ranked(found, higher_is_better=False)] == [1, 5, 3, 4, 0, 2]
