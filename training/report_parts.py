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
    """Write `NAME.png` for each drawing, by name, where matplotlib is installed.

    Args:
        folder: the folder for the pictures.
        drawings: a function for each picture, which draws on the empty figure that is its argument.
        missing: the beginning of the warning if matplotlib is not installed: what is missing.
        remedy: the end of this warning: what matplotlib is to be installed for.

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
