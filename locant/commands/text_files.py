# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Text in and out of the commands: UTF-8, a sentence a line."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from locant.training.errors import InputError
from locant.training.text_data import read_lines


def read_parallel(source: str, target: str) -> tuple[list[str], list[str]]:
    """The lines of two files.

    Raises:
        InputError: one cannot be read, or they differ in length.
    """
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise InputError(
            f"Parallel files need as many lines each: {source} has {len(sources):,}, {target} has {len(targets):,}."
        )
    return sources, targets


def standard_input() -> Iterator[str]:
    """The lines of standard input, as they come.

    Raises:
        InputError: at the first line that is not UTF-8.
    """
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(f"Line {number} of the input is not UTF-8: convert it to UTF-8.") from None


@contextlib.contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or the file at `path`, which appears, or is replaced, only when it is complete."""
    if path is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    complete = Path(path)
    complete.parent.mkdir(parents=True, exist_ok=True)
    unfinished = complete.with_name(f".{complete.name}.{os.getpid()}")
    try:
        with open(unfinished, "w", encoding="utf-8", newline="\n") as file:
            yield file
        os.replace(unfinished, complete)
    finally:
        unfinished.unlink(missing_ok=True)
