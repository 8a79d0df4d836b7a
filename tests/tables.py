# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reading of the tables that `locant train` takes, and comparison of the tables that it and `locant evaluate` write."""

import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import DatasetDict

from locant.training.data import tables
from locant.training.options.arguments import DataArguments

DECIMAL = re.compile(r"-?\d+\.(\d+)")


def load_splits(layout: tables.Layout, *, seed: int = 0, **given: Any) -> DatasetDict:
    """Load the splits with the data options `given`, whose values are not checked, and with defaults for the others."""
    defaults = {field.name: field.default for field in fields(DataArguments)}
    return tables.load_splits(layout, SimpleNamespace(**{**defaults, **given}), seed)


def assert_same_table(written: Path, expected: Path) -> None:
    """Compare the cells of two TSV files: decimal numbers to one unit of their last digit, and others exactly.

    Models compute slightly different numbers in batches of different sizes, which may be rounded to different digits.
    """
    rows = ([line.split("\t") for line in path.read_text("utf-8").splitlines()] for path in (written, expected))
    for row, expected_row in zip(*rows, strict=True):
        for cell, expected_cell in zip(row, expected_row, strict=True):
            if number := DECIMAL.fullmatch(expected_cell):
                assert float(cell) == pytest.approx(float(expected_cell), abs=1.1 * 10.0 ** -len(number[1]))
            else:
                assert cell == expected_cell
