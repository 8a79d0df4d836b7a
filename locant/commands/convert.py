# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant convert`."""

import argparse

from locant.commands.command_parser import CommandParser
from locant.hub.conversion.families import MODEL_TYPES


def run(arguments: list[str]) -> None:
    """Convert a model of another family to Locant, or a Locant model to another family; print the new folder."""
    parsed = vars(_parser().parse_args(arguments))

    # imported here, because --help would take longer with these modules
    from locant.hub.conversion.conversion import convert
    from locant.training.inference import check_folder

    source = parsed.pop("source")
    check_folder(source)
    print(convert(source, parsed.pop("target"), **parsed))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant convert",
        description=f"Convert a model of one of the types {', '.join(MODEL_TYPES)} to a Locant model, or, with --to, "
        "a Locant model to one of these types. The config, the weights, the tokenizer, the image processor and the "
        "generation config are converted.",
    )
    parser.add_argument("source", metavar="SOURCE", help="folder or Hub name of the model to convert")
    parser.add_argument("target", metavar="TARGET", help="folder to write, which must be new or empty")
    parser.add_argument("--to", choices=MODEL_TYPES, help="type of the model that a Locant model is converted to")
    parser.add_argument(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="names or patterns of weights to leave out, such as 'cls.seq_relationship.*'",
    )
    parser.add_argument(
        "--dtype",
        metavar="DTYPE",
        help="type of the written weights: float32, bfloat16 or float16 (default: that of the config or the files)",
    )
    parser.add_argument(
        "--max_shard_size", default="5GB", metavar="SIZE", help="largest size of a weights file (default: 5GB)"
    )
    parser.add_argument("--revision", help="branch, tag or commit of the repository on the Hub")
    parser.add_argument(
        "--token", help="access token for a private repository (default: the token of `hf auth login` or of HF_TOKEN)"
    )
    return parser
