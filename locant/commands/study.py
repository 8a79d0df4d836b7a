# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant study`: runs the study that the first argument names."""

import difflib
import importlib

from locant.training.errors import InputError

# Subject -> the module whose `run` takes the arguments after the subject, and a summary for the usage message.
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

_USAGE = "\n".join(
    [
        "usage: locant study SUBJECT ...",
        "",
        "subjects:",
        *(f"  {name:<12} {summary}" for name, (_, summary) in SUBJECTS.items()),
        "",
        "locant study SUBJECT --help explains a study.",
    ]
)


def run(arguments: list[str]) -> None:
    """Run the study that the first argument names.

    Raises:
        InputError: the first argument is missing, or names no study.
    """
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in ("-h", "--help"):
        print(_USAGE)
    elif name in SUBJECTS:
        importlib.import_module(SUBJECTS[name][0]).run(rest)
    else:
        nearest = difflib.get_close_matches(name, SUBJECTS, n=1)
        known = f"the subjects are {', '.join(SUBJECTS)}"
        problem = f"{name} is not a subject of study" if name else "study needs a subject"
        raise InputError(f"{problem}: {f'did you mean {nearest[0]}?' if nearest else f'{known}.'}")
