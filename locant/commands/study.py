# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant study`: runs the study that the first argument names."""

import importlib

from locant.commands.command_parser import CommandParser

# Name of a study -> the module whose function `run` runs the study, and a summary of the study for the help
SUBJECTS = {
    "positions": (
        "locant.commands.study_positions",
        "word order, length and attention with each position encoding, on generated data",
    ),
    "translation": (
        "locant.commands.study_translation",
        "one recipe of locant train with each of several position encodings and seeds",
    ),
}


def run(arguments: list[str]) -> None:
    """Run the study that the first argument names, with the arguments after it."""
    parser = CommandParser(
        "locant study",
        usage="locant study SUBJECT ...",
        description="Compare position encodings. locant study SUBJECT --help explains a study.",
    )
    summaries = "; ".join(f"{name}: {summary}" for name, (_, summary) in SUBJECTS.items())
    parser.add_argument("subject", metavar="SUBJECT", choices=SUBJECTS, help=summaries)
    subject = parser.parse_args(arguments[:1]).subject
    importlib.import_module(SUBJECTS[subject][0]).run(arguments[1:])
