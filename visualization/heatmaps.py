# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The data of a picture: a grid of matrices that have the same labels of rows and columns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Heatmaps:
    """A grid of matrices of the same shape, such as the attention weights of each layer and head.

    Args:
        name: the name of the PNG file without its suffix, and of the section of the page.
        title: the heading.
        caption: one or two sentences that explain the rows, the columns and the values.
        values: `(grid rows, grid columns, rows, columns)`, in float32.
        row_labels, column_labels: a label for each row and each column of a matrix, such as tokens.
        grid_row_labels, grid_column_labels: a label for each row and each column of the grid, such as `layer 1` and
            `head 1`.
        are_weights: whether the values are attention weights, from 0 to 1.
        patches: the numbers of rows and columns of the image patches, if the columns of a matrix stand for the patches,
            row by row; None if the columns do not stand for patches.
        columns_before_patches: the number of columns before the first patch, such as 1 for a class token.
    """

    name: str
    title: str
    caption: str
    values: np.ndarray
    row_labels: list[str]
    column_labels: list[str]
    grid_row_labels: list[str]
    grid_column_labels: list[str]
    are_weights: bool = False
    patches: tuple[int, int] | None = None
    columns_before_patches: int = 0

    def __post_init__(self) -> None:
        labels = (self.grid_row_labels, self.grid_column_labels, self.row_labels, self.column_labels)
        expected = tuple(map(len, labels))
        if self.values.shape != expected:
            raise ValueError(
                f"The values of {self.name} have the shape {self.values.shape}, but the labels are for {expected}."
            )


def numbered(name: str, count: int) -> list[str]:
    """Return the labels `NAME 1`, `NAME 2`, … of layers or heads."""
    return [f"{name} {number}" for number in range(1, count + 1)]
