# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Load splits of text pairs, with the columns ``source`` and ``target``, and count test rows that are also in train."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict

from .tables import Column, Layout, load_splits, row_values


def parallel_layout(
    source_column: str | None = None,
    target_column: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
) -> Layout:
    """Return the layout of rows with a source and a target.

    In a table, the column of the source is `source_column` if given, else the first of ``translation.<source_lang>``,
    ``<source_lang>`` and ``source`` that the table has. The column of the target is found in the same way.
    """

    def side(name: str, column: str | None, lang: str | None) -> Column:
        return Column(name, chosen=column, usual=(f"translation.{lang}", lang) if lang is not None else ())

    return Layout((side("source", source_column, source_lang), side("target", target_column, target_lang)), row="pair")


def load_parallel_data(
    *,
    source_lang: str | None = None,
    target_lang: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    **sources: Any,
) -> DatasetDict:
    """Load splits of pairs, with the keyword arguments of `parallel_layout` and of `load_splits`."""
    return load_splits(parallel_layout(source_column, target_column, source_lang, target_lang), **sources)


class Overlap(NamedTuple):
    """The numbers of test rows that are also in train.

    For `inputs`, only the first column of the rows is compared, and for `rows` all columns.
    """

    inputs: int
    rows: int


def count_overlap(train: Dataset, test: Dataset, columns: Sequence[str]) -> Overlap:
    """Count the rows of `test` that equal a row of `train` in `columns[0]`, and those that do so in all `columns`."""
    train_rows = set(row_values(train, columns))
    train_inputs = {values[0] for values in train_rows}
    test_rows = list(row_values(test, columns))
    return Overlap(
        inputs=sum(values[0] in train_inputs for values in test_rows),
        rows=sum(values in train_rows for values in test_rows),
    )
