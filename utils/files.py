# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes a file atomically: readers never see an incomplete file."""

import csv
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; if the folder does not exist, create it.

    The caller writes a file to the temporary path. When the `with` block ends without an error, this file replaces
    `path`; after an error, the file is deleted, and `path` stays as it was. The new file has the permissions of the old
    one. If `path` is a device or a pipe, such as /dev/null, `path` itself is yielded.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # the temporary name keeps the suffix of `path`, by which some writers choose the file format
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        if path.is_file():  # a file that only its owner may read must not be readable for others while it is written
            unfinished.touch(mode=0o600)
        yield unfinished
        if path.is_file():
            shutil.copymode(path, unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to the file `path`; if this fails, the file keeps its old content."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with the names of the columns and a row for each record; None becomes an empty cell.

    If the rows cannot be written, an old file at `path` keeps its content.

    Args:
        path: the file.
        columns: the names of the columns.
        records: the values of each row, in the order of `columns`.
    """
    with atomic_write(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(records)
