# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The entry point of the program `locant`, which passes the command line to `locant.cli`.

Importing the package `locant` takes seconds. This module is outside of the package, so that it can print the version,
or report that a YAML file is missing, before it imports the package.
"""

import sys
from importlib.metadata import version
from pathlib import Path


def main() -> int:
    """Run the command line of the program, and return the exit status, see `locant.cli.main`."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"locant {version('locant')}")
        return 0
    wants_help = "--help" in arguments or "-h" in arguments
    if arguments[:1] == ["train"] and not wants_help and (file := _missing_file(arguments[1:])):
        print(f"locant train: error: {file} cannot be read: No such file or directory.", file=sys.stderr)
        return 2
    try:
        from locant.cli import main as run
    except KeyboardInterrupt:
        print("locant: interrupted", file=sys.stderr)
        return 130
    return run(arguments)


def _missing_file(arguments: list[str]) -> str | None:
    """The first argument if it names a YAML file that does not exist, else None."""
    named = next(iter(arguments), "")
    return named if named.endswith((".yaml", ".yml")) and not Path(named).exists() else None
