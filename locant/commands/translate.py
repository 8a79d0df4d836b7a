# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant translate`."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from locant.training.errors import InputError
from locant.training.inference import check_folder, one_line, translate_stream
from locant.training.text_data import read_lines

from .model_options import (
    add_model_options,
    add_search_options,
    load_model,
    positive,
    search_options,
    shows_progress,
    text_options,
)
from .text_files import output, standard_input


def run(arguments: list[str]) -> None:
    """Translate files or standard input, line by line and in order."""
    parsed = _parser().parse_intermixed_args(arguments)  # files may stand after the options
    lines: Iterable[str] = [line for file in parsed.files for line in read_lines(file)]
    if not parsed.files:
        lines = standard_input()
    with _load(parsed) as (model, tokenizer, options):
        translations = translate_stream(
            model,
            tokenizer,
            lines,
            num_return_sequences=parsed.num_return_sequences,
            with_scores=parsed.scores,
            chunk_size=1 if not parsed.files and sys.stdin.isatty() else None,  # at a terminal answer each line
            **options,
            **search_options(parsed),
        )
        with output(parsed.output) as file:
            for alternatives in translations:
                for translation in alternatives:
                    score = f"{translation.score:.4f}\t" if parsed.scores else ""
                    print(score + one_line(translation.text), file=file)


@contextmanager
def _load(parsed: argparse.Namespace) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """The model in the engine asked for, its tokenizer, and the options of `translate_stream`."""
    if parsed.engine == "torch":
        if parsed.compute_type is not None:
            raise InputError(f"--compute_type {parsed.compute_type} is for --engine ctranslate2: give both.")
        yield load_model(parsed)
        return
    from transformers import AutoTokenizer

    from locant.hub.engines.ctranslate2_model import CTranslate2Model, is_exported
    from locant.hub.engines.exporting import export

    show_progress = shows_progress(parsed)
    with TemporaryDirectory() as scratch:
        folder = Path(parsed.model)
        if not is_exported(folder):
            check_folder(parsed.model)
            folder = export(parsed.model, Path(scratch) / "model")
        model = CTranslate2Model(folder, parsed.device, parsed.compute_type)
        prefix = model.source_prefix if parsed.source_prefix is None else parsed.source_prefix
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{folder} has no tokenizer that loads ({reason}): export the model again.") from error
        yield model, tokenizer, text_options(parsed, prefix, show_progress)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("locant translate", description="Translate text, a sentence a line.")
    add_model_options(parser)
    parser.add_argument("files", nargs="*", metavar="FILE", help="text to translate (default: standard input)")
    parser.add_argument("--output", metavar="FILE", help="where translations go (default: standard output)")
    parser.add_argument(
        "--num_return_sequences",
        type=positive,
        default=1,
        metavar="N",
        help="lines for each sentence, best first (1)",
    )
    parser.add_argument("--scores", action="store_true", help="put the score and a tab before each translation")
    add_search_options(parser)
    group = parser.add_argument_group("engine")
    group.add_argument("--engine", choices=["torch", "ctranslate2"], default="torch", help="what computes (torch)")
    group.add_argument(
        "--compute_type",
        metavar="TYPE",
        help="of CTranslate2, such as float32, int8 or auto for the fastest here (default: as the weights are stored)",
    )
    return parser
