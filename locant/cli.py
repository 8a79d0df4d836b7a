# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The command `locant`: runs a subcommand, and prints an error that the user can correct as one sentence."""

import difflib
import importlib
import os
import sys

from locant.checkpoints.checkpoint_files import CheckpointError
from locant.hub.errors import SharingError
from locant.training.errors import InputError, Terminated

# Subcommand -> the module whose `run` takes the arguments of the subcommand, and a summary for the usage message.
COMMANDS = {
    "train": ("locant.commands.train", "train or fine-tune a translator or a model for another task"),
    "evaluate": ("locant.commands.evaluate", "measure a model on a test set"),
    "translate": ("locant.commands.translate", "translate text, one sentence per line"),
    "predict": (
        "locant.commands.predict",
        "predict labels, captions, continuations or masked tokens",
    ),
    "score": (
        "locant.commands.score",
        "compute log-probabilities of given translations, or of text under a language model",
    ),
    "push": ("locant.commands.push", "put a model with its card and its code on the Hub"),
    "convert": (
        "locant.commands.convert",
        "convert a model of another family to Locant, or a Locant model to another family",
    ),
    "export": ("locant.commands.export", "write a model for another engine: CTranslate2 or ONNX"),
    "serve": ("locant.commands.serve", "answer requests for translations or classifications over HTTP"),
    "search": ("locant.commands.search", "search for hyperparameters of locant train"),
    "study": ("locant.commands.study", "compare position encodings"),
}

_USAGE = "\n".join(
    [
        "usage: locant COMMAND ...",
        "",
        "commands:",
        *(f"  {name:<10} {summary}" for name, (_, summary) in COMMANDS.items()),
        "",
        "locant COMMAND --help explains a command; locant --version prints the version.",
    ]
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `arguments` (by default the program's) and return the exit status.

    The status is 0 for success; 2 for input that cannot be used or with which training diverges, and for a full disk or
    another error of the system that ends training; 130 for an interrupt; 141 if the program that reads the output
    closed the pipe; and 143 if SIGTERM ended training. Other exceptions are not caught.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in ("-h", "--help"):
        print(_USAGE)
        return 0
    if name == "--version":
        from locant import __version__

        print(f"locant {__version__}")
        return 0
    if name not in COMMANDS:
        print(_unknown_command(name), file=sys.stderr)
        return 2
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
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


def _unknown_command(name: str) -> str:
    if not name:
        return _USAGE
    nearest = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the commands are {', '.join(COMMANDS)}."
    return f"locant: error: {name} is not a command: {hint}"
