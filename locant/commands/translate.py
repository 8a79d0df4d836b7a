# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant translate`."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterable

from locant.commands.command_parser import CommandParser
from locant.commands.engines import add_engine_options, load_in_engine
from locant.commands.model_options import add_model_options, add_number, add_search_options, search_options
from locant.commands.text_files import output, prompted, standard_input
from locant.training.data.tables import read_lines
from locant.training.errors import InputError
from locant.training.inference import one_line, translate_stream


def run(arguments: list[str]) -> None:
    """Translate each line of files or of standard input, and write the translations in the order of the lines."""
    parsed = _parser().parse_intermixed_args(arguments)  # files may stand after the options
    for file in parsed.files:
        if " " in file and not os.path.exists(file):  # unlike Path.exists, it is False for a name that is too long
            raise InputError(
                f"There is no file {file!r}: give the name of a file, or write sentences to the standard input, as in "
                f"echo {shlex.quote(file)} | locant translate {parsed.model}"
            )
    lines: Iterable[str] = [line for file in parsed.files for line in read_lines(file)]
    is_interactive = not parsed.files and sys.stdin.isatty()
    if not parsed.files:
        lines = prompted(parsed.output) if is_interactive else standard_input()
    with load_in_engine(parsed) as (model, tokenizer, options):
        translations = translate_stream(
            model,
            tokenizer,
            lines,
            num_return_sequences=parsed.num_return_sequences,
            with_scores=parsed.scores,
            chunk_size=1 if is_interactive else None,  # at a terminal, translate each line as soon as it is typed
            **options,
            **search_options(parsed),
        )
        with output(parsed.output) as file:
            for number, alternatives in enumerate(translations, start=1):
                line = f"{number}\t" if parsed.num_return_sequences > 1 else ""
                for translation in alternatives:
                    score = f"{translation.score:.4f}\t" if parsed.scores else ""
                    print(f"{line}{score}{one_line(translation.text)}", file=file, flush=is_interactive)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("locant translate", description="Translate text, one sentence per line.")
    add_model_options(parser)
    parser.add_argument(
        "files",
        nargs="*",
        default=[],  # without a default, argparse would count FILE among the missing arguments if MODEL is missing
        metavar="FILE",
        help="files of sentences, one per line (default: standard input)",
    )
    parser.add_argument("--output", metavar="FILE", help="file for the translations (default: standard output)")
    meaning = "number of translations of each sentence, best first; above 1, each line begins with the sentence number"
    add_number(parser, "--num_return_sequences", meaning, 1)
    parser.add_argument("--scores", action="store_true", help="write the score and a tab before each translation")
    add_search_options(parser)
    add_engine_options(parser)
    return parser
