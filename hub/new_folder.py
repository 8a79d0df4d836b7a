# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes a folder completely or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SharingError


@contextmanager
def new_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a temporary folder beside `target`; at the end it is renamed to `target`, or deleted if an error occurred.

    Raises:
        SharingError: `target` is a file, is not empty, or cannot be written; nothing was written or changed then.
    """
    path = Path(target)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        kind = "is not empty" if path.is_dir() else "is a file"
        raise SharingError(f"{path} {kind}, and existing files are not overwritten: give a new or an empty folder.")
    resolved = path.resolve()
    beside = resolved.parent / f".{resolved.name}.{uuid.uuid4().hex[:8]}"
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise SharingError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        yield beside
        if resolved.is_dir():  # an empty folder; some systems cannot rename a folder to the name of an existing folder
            resolved.rmdir()
        beside.rename(resolved)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
