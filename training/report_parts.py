# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Parts of reports: means with their standard deviation, tables in Markdown, and pictures."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .files import written_whole

logger = logging.get_logger(__name__)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the standard deviation of the sample (n − 1), which is NaN for one value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def with_deviation(values: Sequence[float], digits: int) -> str:
    """`mean ± deviation` with `digits` digits after the point; a single value has no deviation."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], figures: str = "--:") -> str:
    """A table in Markdown; the first column holds names, and `figures` is the alignment of all others."""
    rule = ["---", *[figures] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def write_pictures(
    folder: Path, drawings: Mapping[str, Callable[[Any], Any]], missing: str, remedy: str = "to see it"
) -> bool:
    """Save each drawing as `NAME.png` in `folder`; if matplotlib is not installed, log a warning instead.

    Args:
        folder: the folder for the pictures.
        drawings: the name of each picture -> the function that draws it on an empty matplotlib figure, its argument.
        missing: the beginning of the warning, which says what is missing, such as `The loss curve is not drawn`.
        remedy: the end of the warning, what the `pip install` command before it is for, such as `to see it`.

    Returns:
        Whether the pictures were written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.warning_once(f"{missing}, as matplotlib is not installed: pip install 'locant[plots]' {remedy}.")
        return False
    for name, draw in drawings.items():
        figure = Figure(layout="constrained")
        draw(figure)
        with written_whole(folder / f"{name}.png") as path:
            figure.savefig(path, dpi=150)
    return True
