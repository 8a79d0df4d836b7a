# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Converts errors that end a run, such as a full disk or a dead data worker, to an `InputError` of one sentence."""

import errno
import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from .run_folder import complete_checkpoints, step_of
from .saving import delete_incomplete

_FREE, _ALLOW, _CHECK = "free some space", "make it readable, and writable if the run writes to it", "check the disk"
_MENDS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FREE),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _ALLOW),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO), _CHECK),
}
"""Maps error numbers of the operating system (`errno`) to advice.

An error with another number may be a fault in the program, and is raised unchanged.
"""


@contextmanager
def in_one_sentence(folder: Path, place: Path, has_lock: bool = False) -> Iterator[None]:
    """In the `with` block, convert errors of the operating system, and the death of a data worker, to `InputError`.

    The errors of the operating system are those in `_MENDS`, such as a full disk; other errors are raised unchanged.

    Args:
        folder: the folder of the run.
        place: the folder in which the `with` block writes; the message names it if the error has no path.
        has_lock: whether this process holds the lock of `folder`; if it does, `delete_incomplete` deletes incomplete
            checkpoints in `folder` before the `InputError` is raised.
    """
    try:
        yield
    except Exception as error:
        explanation = _explain(error, place)
        if explanation is None:
            raise
        if has_lock:
            delete_incomplete(folder)
        raise InputError(f"{explanation}, and repeat the command of the run to {_goes_on(folder)}.") from error


def _explain(error: BaseException, place: Path) -> str | None:
    """Return the first part of the message for `error`: what failed, the reason, and advice.

    Two kinds of errors have a message: an error of the operating system with a number in `_MENDS`, and an error that
    occurred because a data worker died. The function looks for such an error in `error` and its causes. It returns
    None if it finds no such error, or if `error` is an `InputError`.
    """
    if isinstance(error, InputError):
        return None
    for cause in _causes(error):
        if _is_of_dead_worker(cause):
            told = " ".join(str(cause).split()).rstrip(". ")
            return f"A process that loads data has died ({told}): free some memory, or set dataloader_num_workers to 0"
        number = _number_of(cause, place)
        if number in _MENDS:
            filename = getattr(cause, "filename", None)
            path = place if filename is None else os.fsdecode(filename)
            return f"Access to {path} failed ({os.strerror(number)}): {_MENDS[number]}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_dead_worker(error: BaseException) -> bool:
    """Whether the error occurred because a data worker died, possibly while a batch was received from the worker."""
    modules = (frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__))
    is_receiving = isinstance(error, OSError | EOFError) and "torch.multiprocessing.reductions" in modules
    return is_receiving or "DataLoader worker (pid" in str(error)


def _number_of(error: BaseException, place: Path) -> int | None:
    """Return the number, as in the module `errno`, of the error of the operating system that `error` is or reports.

    Returns None for any other error. An error of `torch.save` does not report the number; for such an error, a test
    file is written in the folder `place`, and the number of the error that occurs is returned.
    """
    if isinstance(error, OSError):
        return error.errno
    if told := re.search(r"os error (\d+)", str(error)):  # errors of safetensors and tokenizers
        return int(told[1])
    # errors of torch.save do not contain the number
    if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
        return _try_to_write(place)
    return None


def _try_to_write(folder: Path) -> int:
    """Write a file in `folder`, and return the number of the error that occurs; if no error occurs, return `EIO`."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**20))
    except OSError as error:
        return error.errno or errno.EIO
    return errno.EIO


def _goes_on(folder: Path) -> str:
    try:
        checkpoints = complete_checkpoints(folder)
    except OSError:  # the folder cannot be read
        checkpoints = []
    if not checkpoints:
        return f"start it again, as {folder} has no checkpoint yet"
    return f"resume from its last good checkpoint, {checkpoints[-1]} (step {step_of(checkpoints[-1]):,})"
