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
    """Yield a temporary folder, for the caller to write files to.

    The temporary folder is beside `target`, or inside `target` if `target` is an empty folder. When the `with` block
    ends without an error, the temporary folder is renamed to `target`, or its files are moved to the empty folder;
    after an error, the temporary folder is deleted.

    Raises:
        SharingError: `target` is a file, or a folder that is not empty; or the temporary folder cannot be created. The
            body of the `with` block does not run in these cases.
    """
    path = Path(target)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        # after a call that was killed, the folder may hold a hidden temporary folder
        kind = f"is not empty (it holds {min(path.iterdir()).name})" if path.is_dir() else "is a file"
        raise SharingError(f"{path} {kind}, and existing files are not overwritten: give a new or an empty folder.")
    resolved = path.resolve()
    # an empty folder is not replaced, because it may be the current folder of a process, or a mounted volume
    is_there = resolved.is_dir()
    temporary = (resolved if is_there else resolved.parent) / f".{resolved.name}.{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise SharingError(f"{path} cannot be written ({error.strerror}): give another folder.") from error
    try:
        yield temporary
        if is_there:
            for file in list(temporary.iterdir()):
                file.rename(resolved / file.name)
        else:
            temporary.rename(resolved)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
