# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Draws confusion matrices, and saves the pictures of a run or a study, if matplotlib is installed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from locant.utils.files import atomic_write

logger = logging.get_logger(__name__)

MOST_CLASSES_WITH_NUMBERS = 20
"""With at most this number of classes, the cells in the picture of a confusion matrix show their numbers of rows."""


def write_pictures(
    folder: Path, drawings: Mapping[str, Callable[[Any], Any]], missing: str, remedy: str = "to see it"
) -> bool:
    """Save each drawing as `NAME.png` in `folder`; if matplotlib is not installed, log a warning instead.

    Args:
        folder: the folder for the pictures.
        drawings: a dict from the name of each picture to the function that draws the picture; the argument of the
            function is an empty matplotlib figure.
        missing: the beginning of the warning, which names the missing pictures, such as `The loss curve is not drawn`.
        remedy: the end of the warning: the purpose of the `pip install` command before it, such as `to see it`.

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
        with atomic_write(folder / f"{name}.png") as path:
            figure.savefig(path, dpi=150)
    return True


def draw_confusion_matrix(figure: Any, metrics: Mapping[str, Any]) -> None:
    """Draw the confusion matrix as a grid with a row for each class and a column for each predicted class.

    The color of a cell shows the share of the rows of a class for which the class of the column was predicted. With at
    most `MOST_CLASSES_WITH_NUMBERS` classes, a cell also shows the number of rows.

    Args:
        figure: an empty matplotlib figure.
        metrics: the metrics of a split, with `confusion_matrix` and `by_class`.
    """
    counts, classes = np.array(metrics["confusion_matrix"]), list(metrics["by_class"])
    size = min(20.0, 3 + 0.5 * len(classes))
    figure.set_size_inches(size, size)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # with `parse_math=True`, the text between two dollar signs would be a formula
    axes.set_xticks(range(len(classes)), classes, rotation="vertical", parse_math=False)
    axes.set_yticks(range(len(classes)), classes, parse_math=False)
    if len(classes) <= MOST_CLASSES_WITH_NUMBERS:
        for row, column in np.ndindex(counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color)
    axes.set_title("color: share of the rows of the class")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class")
