# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Files and folders that are written whole or not at all: others may be reading what is there."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SharingError


@contextmanager
def whole_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder beside `target`, which becomes it at the end, or vanishes on any error.

    Raises:
        SharingError: `target` is a file, or holds something; nothing was written or changed then.
    """
    path = Path(target)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        kind = "is not empty" if path.is_dir() else "is a file"
        raise SharingError(f"{path} {kind}, and nothing is written over: give a folder that is not there yet.")
    resolved = path.resolve()
    beside = resolved.parent / f".{resolved.name}.{uuid.uuid4().hex[:8]}"
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise SharingError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        yield beside
        if path.is_dir():  # empty; not every system renames over a folder
            path.rmdir()
        beside.rename(resolved)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Put `text` into the file `path`; what was there stays if that fails."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
