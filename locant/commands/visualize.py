# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant visualize`."""

import argparse
from pathlib import Path

from locant.commands.command_parser import CommandParser
from locant.commands.model_options import add_device_option, add_number


def run(arguments: list[str]) -> None:
    """Write a page and PNG files that show how a model reads a text or an image, and print the path of the page."""
    parser = _parser()
    parsed = vars(parser.parse_args(arguments))
    if (parsed["text"] is None) == (parsed["image"] is None):
        parser.error("give either TEXT or --image")

    # imported here, because --help would take longer with this module
    from locant.visualization.visualization import check_output_folder, visualize

    folder, overwrite = Path(parsed.pop("output_dir")), parsed.pop("overwrite")
    check_output_folder(folder, overwrite)  # checked here, so that an error is raised before the model is loaded
    print(visualize(parsed.pop("model"), **parsed).save(folder, overwrite=overwrite))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant visualize",
        description="Write a self-contained HTML page (index.html) and PNG files with the attention weights of each "
        "layer and head, the position encoding, the norms of the embeddings and position vectors at the input, and, "
        "for translators, the word alignment. Any model of transformers that returns attention weights can be used.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of the model")
    parser.add_argument("text", metavar="TEXT", nargs="?", help="text that the model reads")
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="target of an encoder-decoder, such as a translation (default: the text that the model generates)",
    )
    parser.add_argument("--image", metavar="FILE", help="image that the model reads, instead of TEXT")
    parser.add_argument(
        "--compare",
        metavar="TEXT",
        help="second text: a picture shows the similarity of its words to the words of the first text",
    )
    parser.add_argument(
        "--reverse_model",
        metavar="MODEL",
        help="translator from the target language to the source language: the word alignments of both "
        "directions are then symmetrised",
    )
    add_number(
        parser,
        "--layer",
        "decoder layer, counted from 1, whose cross-attention makes the word alignment (default: the mean over all "
        "layers)",
    )
    parser.add_argument(
        "--output_dir",
        default="runs/visualization",
        metavar="DIR",
        help="folder for the page and the PNG files, which must be new or empty unless --overwrite is given (default: "
        "runs/visualization)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in the folder of --output_dir")
    add_device_option(parser)
    return parser
