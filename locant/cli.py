# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The command `locant`: runs a subcommand, and prints one sentence about an error that the user can correct."""

import importlib
import os
import sys

from locant.checkpoints.checkpoint_files import CheckpointError
from locant.hub.errors import SharingError
from locant.training.errors import InputError, Terminated
from locant_command import COMMANDS, answer_without_package


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `arguments`, by default `sys.argv[1:]`, and return the exit status.

    The status is 0 for success; 2 for a missing or unknown command, for a YAML file that does not exist, and for an
    `InputError`, `SharingError` or `CheckpointError`, whose message is printed; 130 for an interrupt; 141 if the
    program that reads the output closed the pipe; and 143 if SIGTERM ended a training, a search or a study. Other
    exceptions are not caught, such as the `SystemExit` of argparse for `--help`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    status = answer_without_package(arguments)
    return _run(arguments[0], arguments[1:]) if status is None else status


def _run(name: str, arguments: list[str]) -> int:
    if hasattr(sys.stdout, "reconfigure"):  # the encoding of the locale may lack characters of the data
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # imported here, so that a subcommand does not wait for modules that only another subcommand needs
        importlib.import_module(COMMANDS[name][0]).run(arguments)
        sys.stdout.flush()
    except (InputError, SharingError, CheckpointError) as error:
        print(f"locant {name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        explanation = f": {interrupt}" if str(interrupt) else ""
        print(f"locant {name}: interrupted{explanation}", file=sys.stderr)
        return 130
    except Terminated as termination:
        print(f"locant {name}: terminated: {termination.explanation}", file=sys.stderr)
        return termination.code
    except BrokenPipeError:
        # send buffered text to the null device, so that Python does not raise the error again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0
