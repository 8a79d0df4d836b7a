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
    """Yield a temporary folder beside `target`, for the caller to write files to.

    When the `with` block ends without an error, the folder is renamed to `target`; after an error it is deleted.

    Raises:
        SharingError: `target` is a file, or a folder that is not empty; or the temporary folder cannot be created. The
            body of the `with` block does not run in these cases.
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
        raise SharingError(f"{path} cannot be written ({error.strerror}): give another folder.") from error
    try:
        yield beside
        if resolved.is_dir():  # remove the empty folder: some systems cannot rename a folder to an existing one
            resolved.rmdir()
        beside.rename(resolved)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
