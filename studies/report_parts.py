# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Functions for the reports of studies and searches: means with their standard deviation, and tables as CSV."""

import csv
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from locant.utils.files import atomic_write


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n − 1); the standard deviation of one value is NaN."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def with_deviation(values: Sequence[float], digits: int) -> str:
    """Format values as `mean ± deviation`, with `digits` digits after the point; a single value as `mean` alone."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")


def write_csv(path: Path, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with the names of the columns and a row for each record; None becomes an empty cell."""
    with atomic_write(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(records)
