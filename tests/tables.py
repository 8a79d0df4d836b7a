# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Comparison of the tables that `locant train` and `locant evaluate` write."""

import re
from pathlib import Path

import pytest

DECIMAL = re.compile(r"-?\d+\.(\d+)")


def assert_same_table(written: Path, expected: Path) -> None:
    """Compare the cells of two TSV files: decimal numbers to one unit of their last digit, and others exactly.

    Models compute slightly different numbers in batches of different sizes, which may be rounded to different digits.
    """
    tables = ([line.split("\t") for line in path.read_text("utf-8").splitlines()] for path in (written, expected))
    for row, expected_row in zip(*tables, strict=True):
        for cell, expected_cell in zip(row, expected_row, strict=True):
            if number := DECIMAL.fullmatch(expected_cell):
                assert float(cell) == pytest.approx(float(expected_cell), abs=1.1 * 10.0 ** -len(number[1]))
            else:
                assert cell == expected_cell
