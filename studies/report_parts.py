# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Functions for the reports of studies and searches: means with their standard deviation, and panels of pictures."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

MOST_COLUMNS = 4
"""The largest number of panels in a row of a picture."""


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n − 1); the standard deviation of one value is NaN."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def with_deviation(values: Sequence[float], digits: int) -> str:
    """Format values as `mean ± deviation`, with `digits` digits after the point; a single value as `mean` alone."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")


def panels(figure: Any, number: int, width: float, height: float, grid: bool = True) -> list[Any]:
    """Add `number` panels of about `width` × `height` inches with a common y-axis to a matplotlib figure.

    A row has at most `MOST_COLUMNS` panels, and the rows are about equally long. If `grid` is True, the panels have
    horizontal grid lines, and no frame at the top and on the right.
    """
    rows = math.ceil(number / MOST_COLUMNS)
    columns = math.ceil(number / rows)
    figure.set_size_inches(max(width * columns, 4.5) + 0.6, height * rows + 0.6)
    found = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel in found[number:]:
        panel.remove()
    for panel in found[:number]:
        panel.tick_params(labelsize=8)
        if grid:
            panel.grid(axis="y", color="0.9")
            panel.spines[["top", "right"]].set_visible(False)
    return found[:number]
