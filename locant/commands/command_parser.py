# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""An argument parser for the subcommands; its error messages are sentences."""

import argparse
import difflib
from typing import Any, NoReturn

from locant.training.errors import InputError

_UNKNOWN = "unrecognized arguments: "


class CommandParser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviated options, and raises an `InputError` instead of printing the usage.

    The error for an unknown option names the nearest option, or points to `--help` if no option is similar.

    Args:
        prog: the name of the command, such as `locant translate`.
        **options: keyword arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise an `InputError` for the `message` of argparse."""
        unknown = message.removeprefix(_UNKNOWN)
        if unknown == message:
            raise InputError(f"{message}; see {self.prog} --help.")
        name = unknown.split()[0].partition("=")[0]
        nearest = difflib.get_close_matches(name, self._option_string_actions, n=1, cutoff=0.7)
        hint = f"did you mean {nearest[0]}?" if nearest else f"see {self.prog} --help."
        raise InputError(f"{name} is not an argument of {self.prog}: {hint}")
