# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant score`."""

import argparse
import dataclasses
import json

from locant.training.inference import score

from .engines import add_engine_options, load_in_engine
from .model_options import add_model_options
from .text_files import output, read_parallel


def run(arguments: list[str]) -> None:
    """Write the log-probability of each target given its source, a sentence a line."""
    parsed = _parser().parse_args(arguments)
    sources, targets = read_parallel(parsed.source, parsed.target)
    with load_in_engine(parsed) as (model, tokenizer, options), output(parsed.output) as file:
        for sentence in score(model, tokenizer, sources, targets, **options):
            if parsed.tokens:
                print(json.dumps(dataclasses.asdict(sentence), ensure_ascii=False), file=file)
            else:
                print(f"{sentence.log_probability:.4f}", file=file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "locant score", description="Natural log-probability of given translations, a sentence a line."
    )
    add_model_options(parser)
    parser.add_argument("--source", required=True, metavar="FILE", help="sources, a sentence a line")
    parser.add_argument("--target", required=True, metavar="FILE", help="their translations")
    parser.add_argument("--tokens", action="store_true", help="write JSON lines with the part of each token")
    parser.add_argument("--output", metavar="FILE", help="where results go (default: standard output)")
    add_engine_options(parser)
    return parser
