# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Saves the pictures of a run or a study, if matplotlib is installed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers.utils import logging

from locant.utils.files import atomic_write

logger = logging.get_logger(__name__)


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
