# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant convert`."""

import argparse
from pathlib import Path

from locant.hub.families import MODEL_TYPES
from locant.training.errors import InputError


def run(arguments: list[str]) -> None:
    """Convert a model of another family to a Locant model, or a Locant model to another family; print the folder."""
    parsed = vars(_parser().parse_args(arguments))

    # imported here, because --help would take longer with the modules that `run_folder` imports
    from locant.hub.conversion import convert
    from locant.training.run_folder import explain_unfinished, holds_unfinished_run

    source = parsed.pop("source")
    if holds_unfinished_run(Path(source)):
        raise InputError(explain_unfinished(Path(source)))
    print(convert(source, parsed.pop("target"), **parsed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "locant convert",
        description=f"Make a Locant model of one of {', '.join(MODEL_TYPES)}, or, with --to, one of these of a Locant "
        "model. Config, weights, tokenizer, image processor and generation config are converted.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder, or a repository on the Hub")
    parser.add_argument("target", metavar="TARGET", help="a folder that is not there yet")
    parser.add_argument("--to", choices=MODEL_TYPES, help="what a Locant model shall become")
    parser.add_argument(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="weights to leave behind, by name or pattern, such as 'cls.seq_relationship.*'",
    )
    parser.add_argument(
        "--dtype", metavar="DTYPE", help="of the weights written: float32, bfloat16, float16 (as they are)"
    )
    parser.add_argument(
        "--max_shard_size", default="5GB", metavar="SIZE", help="the most that a file of weights holds (5GB)"
    )
    parser.add_argument("--revision", help="of a repository: a branch, tag or commit")
    parser.add_argument("--token", help="of the Hub, for a private repository (default: that of `hf auth login`)")
    return parser
