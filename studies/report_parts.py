# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Functions that compute and format means with their standard deviation for the reports of studies."""

import statistics
from collections.abc import Sequence


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the standard deviation of the sample (n − 1), which is NaN for one value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def with_deviation(values: Sequence[float], digits: int) -> str:
    """`mean ± deviation` with `digits` digits after the point; a single value has no deviation."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")
