# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Functions for the reports of studies and searches: means with their standard deviation."""

import statistics
from collections.abc import Sequence


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n − 1); the standard deviation of one value is NaN."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def with_deviation(values: Sequence[float], digits: int) -> str:
    """Format values as `mean ± deviation`, with `digits` digits after the point; a single value as `mean` alone."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")
