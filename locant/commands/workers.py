# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The option `--workers` of `locant search` and `locant study translation`: the number of runs at a time."""

from argparse import RawDescriptionHelpFormatter

from locant.training.errors import InputError

from .command_parser import CommandParser


def read_workers(command: str, arguments: list[str], **texts: str) -> tuple[int | None, list[str]]:
    """Split `arguments` into the value of `--workers`, None if it is not given, and the list of the other arguments.

    With `-h` or `--help`, the help is printed, and the program ends.

    Args:
        command: the name of the command, for error messages.
        arguments: the arguments of the command.
        **texts: `usage` and `description` for the help.

    Raises:
        InputError: the value is not a whole number of at least 1.
    """
    parser = CommandParser(command, formatter_class=RawDescriptionHelpFormatter, **texts)
    parser.add_argument("--workers", type=int, metavar="N", help="number of runs at a time, which share the cores")
    parsed, rest = parser.parse_known_args(arguments)
    if parsed.workers is not None and parsed.workers < 1:
        raise InputError(f"--workers is {parsed.workers}, but must be at least 1.")
    return parsed.workers, rest
