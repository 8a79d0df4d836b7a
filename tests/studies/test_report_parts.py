# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What the reports share: figures with their deviation, tables, and pictures where they can be drawn."""

import math
import statistics

import numpy as np
import pytest

from locant.studies.report_parts import mean_and_deviation, with_deviation


@pytest.mark.parametrize("values", [[1.0, 2.0, 6.0], [50.0, 50.0]])
def test_the_deviation_is_that_of_a_sample(values):
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(statistics.mean(values))
    assert deviation == pytest.approx(np.std(values, ddof=1))


def test_one_value_has_no_deviation():
    mean, deviation = mean_and_deviation([3.0])
    assert mean == 3.0
    assert math.isnan(deviation)


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [([1.0, 2.0, 6.0], 1, "3.0 ± 2.6"), ([1.0, 2.0, 6.0], 2, "3.00 ± 2.65"), ([3.14159], 2, "3.14")],
)
def test_figures_are_written_with_their_deviation_if_they_have_one(values, digits, expected):
    assert with_deviation(values, digits) == expected
