# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Draws heatmaps, norms and alignments with matplotlib, each on an empty figure."""

import math
from typing import Any

import numpy as np

from .alignment import Alignment
from .heatmaps import Heatmaps
from .input_norms import InputNorms

# the largest number of labels of an axis, in a picture with one panel and in a grid of panels; more labels would not be
# readable, so an axis that would have more is drawn without labels
_MOST_LABELS, _MOST_LABELS_OF_A_GRID = 40, 25
_LONGEST_LABEL = 14  # characters
# Okabe and Ito's blue and vermilion, which colour-blind readers can tell apart
_BLUE, _VERMILION = "#0072B2", "#D55E00"


def draw_heatmaps(figure: Any, heatmaps: Heatmaps, pixels: np.ndarray | None = None) -> None:
    """Draw a panel for each matrix, all with the same colour scale.

    If the columns of the matrices are image patches and `pixels` is given, `_draw_patches` draws the attention over the
    image instead.

    Args:
        figure: the figure to draw on.
        heatmaps: the matrices.
        pixels: the image `(height, width, channels)`, from 0 to 1; None if the model read a text.
    """
    if heatmaps.patches is not None and pixels is not None:
        _draw_patches(figure, heatmaps, pixels)
        return
    values, (rows, columns) = heatmaps.values, heatmaps.values.shape[2:]
    is_single = values.shape[:2] == (1, 1)
    if is_single:
        width, height = (min(max(0.2 * count, 2.0), 12.0) for count in (columns, rows))
    else:  # width and height in inches: enough for the labels of an axis, or 1.5 for an axis without labels
        width, height = (
            max(0.12 * count, 1.2) if count <= _MOST_LABELS_OF_A_GRID else 1.5 for count in (columns, rows)
        )
    panels = _panels(figure, heatmaps, width, height)
    norm, colours = _scale(heatmaps)
    for (i, j), panel in np.ndenumerate(panels):
        image = panel.imshow(values[i, j], norm=norm, cmap=colours, aspect="auto", interpolation="nearest")
        _label(panel, heatmaps, with_rows=j == 0, with_columns=i == len(panels) - 1)
    figure.colorbar(image, ax=list(panels.flat), shrink=0.7, aspect=30, pad=0.02)
    figure.suptitle(heatmaps.title, fontsize=11)


def draw_norms(figure: Any, norms: InputNorms) -> None:
    """Draw two bars for each token: the norm of its embedding, and the norm of its position vector if there is one."""
    count = len(norms.tokens)
    figure.set_size_inches(min(max(0.3 * count, 4.0), 14.0), 3.0)
    panel = figure.subplots()
    places = np.arange(count)
    panel.bar(places - 0.2, norms.embeddings, 0.4, color=_BLUE, label="embedding, scaled")
    if norms.positions is not None:
        panel.bar(places + 0.2, norms.positions, 0.4, color=_VERMILION, label="position")
    _ticks(panel, norms.tokens, None)
    panel.set_ylabel("norm")
    panel.set_title(norms.title, fontsize=11)
    panel.legend(frameon=False, fontsize=8)


def draw_alignment(figure: Any, alignment: Alignment) -> None:
    """Draw the attention between words, and a frame around each linked pair."""
    from matplotlib.patches import Rectangle

    rows, columns = alignment.weights.shape
    figure.set_size_inches(min(max(0.32 * columns + 1.5, 3.5), 14.0), min(max(0.28 * rows + 1.2, 3.0), 14.0))
    panel = figure.subplots()
    panel.imshow(alignment.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for source, target in alignment.links:
        frame = Rectangle((source - 0.45, target - 0.45), 0.9, 0.9, fill=False, edgecolor=_VERMILION, linewidth=1.5)
        panel.add_patch(frame)
    _ticks(panel, alignment.source, alignment.target)
    panel.set_title("Word alignment", fontsize=11)


def _draw_patches(figure: Any, heatmaps: Heatmaps, pixels: np.ndarray) -> None:
    """Draw attention over the image.

    In self-attention, there is a panel for each layer and head, with the mean over all queries. In cross-attention,
    there is a panel for each target token, with the mean over all layers and heads.
    """
    assert heatmaps.patches is not None
    weights = heatmaps.values[..., heatmaps.columns_before_patches :]
    if heatmaps.row_labels == heatmaps.column_labels:
        grid = weights.mean(axis=2)
        titles = [f"{row}, {column}" for row in heatmaps.grid_row_labels for column in heatmaps.grid_column_labels]
        many = grid.shape[1]
    else:
        grid, titles = weights.mean(axis=(0, 1))[None], heatmaps.row_labels
        many = min(len(titles), 8)
    flat = grid.reshape(-1, *heatmaps.patches)
    rows = math.ceil(len(flat) / many)
    figure.set_size_inches(1.3 * many, 1.5 * rows + 0.4)
    panels = list(figure.subplots(rows, many, squeeze=False).flat)
    grey = pixels.mean(axis=-1)
    extent = (0, grey.shape[1], grey.shape[0], 0)
    for panel in panels:
        panel.axis("off")
    for panel, patches, title in zip(panels, flat, titles, strict=False):
        panel.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent)
        panel.imshow(patches, cmap="Oranges", alpha=0.6 * patches / (patches.max() or 1), extent=extent)
        panel.set_title(_short(title), fontsize=8, parse_math=False)
    figure.suptitle(heatmaps.title, fontsize=11)


def _panels(figure: Any, heatmaps: Heatmaps, width: float, height: float) -> np.ndarray:
    """Make the axes of each matrix, each of about `width` × `height` inches, with the labels of the grid."""
    rows, columns = heatmaps.values.shape[:2]
    figure.set_size_inches(width * columns + 2.5, height * rows + 2.0)
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel, label in zip(panels[0], heatmaps.grid_column_labels, strict=True):
        panel.set_title(label, fontsize=9)
    if rows > 1:
        for panel, label in zip(panels[:, 0], heatmaps.grid_row_labels, strict=True):
            panel.set_ylabel(label, fontsize=9)
    return panels


def _scale(heatmaps: Heatmaps) -> tuple[Any, str]:
    """Return the colour scale of all panels, and the name of the colour map.

    Attention weights are coloured by their square root, because most weights are small. If there are negative values, 0
    is in the middle of the colour scale.
    """
    from matplotlib.colors import Normalize, PowerNorm

    low, high = float(heatmaps.values.min()), float(heatmaps.values.max())
    if heatmaps.are_weights:
        return PowerNorm(0.5, vmin=0, vmax=high), "Blues"
    if low < 0:
        return Normalize(-max(high, -low), max(high, -low)), "PuOr"
    return Normalize(low, high), "Blues"


def _label(panel: Any, heatmaps: Heatmaps, *, with_rows: bool, with_columns: bool) -> None:
    most = _MOST_LABELS if heatmaps.values.shape[:2] == (1, 1) else _MOST_LABELS_OF_A_GRID
    columns = heatmaps.column_labels if with_columns and len(heatmaps.column_labels) <= most else None
    rows = heatmaps.row_labels if with_rows and len(heatmaps.row_labels) <= most else None
    _ticks(panel, columns, rows)


def _ticks(panel: Any, columns: list[str] | None, rows: list[str] | None) -> None:
    """Label both axes; an axis has no labels if the list is None or has more than `_MOST_LABELS` labels."""
    for axis, labels, rotation in ((panel.xaxis, columns, 90), (panel.yaxis, rows, 0)):
        shown = labels if labels is not None and len(labels) <= _MOST_LABELS else []
        axis.set_ticks(range(len(shown)), map(_short, shown), rotation=rotation, fontsize=7, parse_math=False)


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
