# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The option `--workers` of `locant search` and `locant study translation`: the number of runs at a time."""

import argparse
from typing import NoReturn

from locant.training.errors import InputError


def read_workers(command: str, arguments: list[str]) -> tuple[int | None, list[str]]:
    """Split `arguments` into the value of `--workers`, None if it is not given, and the list of the other arguments.

    Args:
        command: the name of the command, for error messages.
        arguments: the arguments of the command.

    Raises:
        InputError: the value is not a whole number of at least 1.
    """
    parser = _Parser(command, add_help=False, allow_abbrev=False)
    parser.add_argument("--workers", type=int)
    parsed, rest = parser.parse_known_args(arguments)
    if parsed.workers is not None and parsed.workers < 1:
        raise InputError(f"--workers is {parsed.workers}, but must be at least 1.")
    return parsed.workers, rest


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises an `InputError` of one sentence instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}.")
