# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Functions that read the input and write the output of the commands: UTF-8 files with one text per line."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from locant.training.data.tables import decode_lines, read_lines
from locant.training.errors import InputError
from locant.utils.files import atomic_write


def read_parallel(source: str, target: str) -> tuple[list[str], list[str]]:
    """Read the lines of two parallel files.

    Raises:
        InputError: a file cannot be read, or the files differ in their number of lines.
    """
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise InputError(
            f"Parallel files must have the same number of lines: {source} has {len(sources):,}, {target} has "
            f"{len(targets):,}."
        )
    return sources, targets


def standard_input() -> Iterator[str]:
    """Yield the lines of standard input as they arrive.

    Raises:
        InputError: a line is not UTF-8; the lines before it have been yielded.
    """
    return decode_lines(sys.stdin.buffer, "standard input")


def prompted(path: str | None) -> Iterator[str]:
    """Yield the lines that the user types at a terminal; print instructions first, and a prompt before each line.

    The instructions and the prompts are printed to standard error.

    Args:
        path: the output file that the instructions name; None if the output goes to standard output.
    """
    written = f", and {path} is written" if path else ""
    print(f"Type a sentence and press Enter; press Ctrl-D at the end{written}.", file=sys.stderr)
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            return
        yield line.rstrip("\r\n")


@contextlib.contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Open the file at `path` for writing, or standard output if `path` is None.

    The file is created or replaced only once its text is complete; a device or a pipe is written to directly.

    Raises:
        InputError: `path` is a folder, or no file can be opened for writing there.
    """
    if path is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder: give the path of a file.")
    target = Path(path)
    if target.is_symlink() and (target.is_file() or not target.exists()):
        # replace the file that the symbolic link points to, and keep the link; a link to a device or a pipe, such as
        # /dev/stdout, is opened and not replaced
        target = Path(os.path.realpath(path))
    with contextlib.ExitStack() as stack:
        try:
            unfinished = stack.enter_context(atomic_write(target))
            file = stack.enter_context(open(unfinished, "w", encoding="utf-8", newline="\n"))
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}.") from error
        yield file
