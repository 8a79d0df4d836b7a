# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant align`."""

import argparse

from locant.commands.command_parser import CommandParser
from locant.commands.model_options import add_number, add_run_options, shows_progress
from locant.commands.text_files import output, read_parallel


def run(arguments: list[str]) -> None:
    """Write the word alignment of each pair of lines in Pharaoh format."""
    parsed = _parser().parse_args(arguments)

    # imported here, because --help would take longer with these modules
    from locant.training.inference import load
    from locant.visualization.aligning import Translator, align

    sources, targets = read_parallel(parsed.source, parsed.target)
    show_progress = shows_progress(parsed)
    translator = Translator(*load(parsed.model, parsed.device))
    reverse = None if parsed.reverse_model is None else Translator(*load(parsed.reverse_model, parsed.device))
    alignments = align(
        translator,
        sources,
        targets,
        layer=parsed.layer,
        reverse=reverse,
        batch_size=parsed.batch_size,
        show_progress=show_progress,
    )
    with output(parsed.output) as file:
        for alignment in alignments:
            print(alignment.pharaoh, file=file)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant align",
        description="Align the words of translations by the cross-attention of a translator. A line of the output has "
        "the links of one pair of sentences in Pharaoh format: 0-0 1-2 links the first source word to the first target "
        "word, and the second source word to the third target word. Words are separated by whitespace.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of the translator")
    parser.add_argument("source", metavar="SOURCE", help="file of source sentences, one per line")
    parser.add_argument("target", metavar="TARGET", help="file of translations of the source sentences, one per line")
    parser.add_argument(
        "--reverse_model",
        metavar="MODEL",
        help="translator from the target language to the source language: the links of both directions are then "
        "symmetrised by grow-diag-final-and",
    )
    meaning = "decoder layer, counted from 1, whose cross-attention is used (default: the mean over all layers)"
    add_number(parser, "--layer", meaning)
    parser.add_argument("--output", metavar="FILE", help="file for the alignments (default: standard output)")
    add_run_options(parser, "pairs")
    return parser
