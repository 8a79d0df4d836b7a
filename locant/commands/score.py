# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant score`."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence

from locant.commands.command_parser import CommandParser
from locant.commands.engines import add_engine_options, load_in_engine
from locant.commands.model_options import add_model_options, add_number, shows_progress, trained_with
from locant.commands.text_files import output, read_parallel
from locant.training.errors import InputError
from locant.training.inference import SentenceScore, load, position_limit, score
from locant.training.tasks.translation_metrics import perplexity


def run(arguments: list[str]) -> None:
    """Write the log-probability of each target given its source, or of each document under a language model."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if (parsed.source is None) != (parsed.target is None):
        parser.error("--source and --target belong together: give both of them or neither")
    if (parsed.source is None) == (parsed.text is None):
        parser.error("give --source and --target for a translator, or --text for a language model")
    if parsed.text is not None and (parsed.engine, parsed.compute_type, parsed.source_prefix) != (None, None, None):
        parser.error("--engine, --compute_type and --source_prefix are for translators, and do not go with --text")
    if parsed.text is None and (parsed.block_size, parsed.document_separator) != (None, None):
        parser.error("--block_size and --document_separator are for language models, and go with --text")
    if parsed.text is not None:
        scores, summary = _score_documents(parsed)
        _write(scores, parsed)
        print(summary, file=sys.stderr)
        return
    sources, targets = read_parallel(parsed.source, parsed.target)
    with load_in_engine(parsed) as (model, tokenizer, options):
        _write(score(model, tokenizer, sources, targets, **options), parsed)


def _write(scores: Sequence[SentenceScore], parsed: argparse.Namespace) -> None:
    with output(parsed.output) as file:
        for found in scores:
            if parsed.tokens:
                print(json.dumps(dataclasses.asdict(found), ensure_ascii=False), file=file)
            else:
                print(f"{found.log_probability:.4f}", file=file)


def _score_documents(parsed: argparse.Namespace) -> tuple[list[SentenceScore], str]:
    """Score each document in the files of `--text`.

    Returns:
        The score of each document; and a summary in one line: the number of documents and of tokens, the perplexity,
        and the bits per byte.
    """
    # imported here, because --help would take longer with these modules
    from transformers import AutoModelForCausalLM

    from locant.training.tasks.documents import counted_documents
    from locant.training.tasks.language_modeling import LanguageModeling, score_documents
    from locant.training.tasks.language_modeling_arguments import LanguageModelingData

    options = ["--test_file", *parsed.text]
    if parsed.document_separator is not None:
        options += ["--document_separator", parsed.document_separator]
    task, data, _ = trained_with(parsed.model, options)
    if task is None:
        given = parsed.document_separator is not None
        separator = {"document_separator": parsed.document_separator} if given else {}
        data = LanguageModelingData(train_file=parsed.text, test_file=parsed.text, **separator)
    elif not isinstance(data, LanguageModelingData):
        raise InputError(
            f"--text is for language models, but {parsed.model} is a model for {task.name}: give a language model."
        )
    texts = LanguageModeling(data, seed=0).load_split("test")["text"][:]
    show_progress = shows_progress(parsed)
    model, tokenizer = load(parsed.model, parsed.device, AutoModelForCausalLM)
    sizes = [parsed.block_size or data.block_size, position_limit(model, "target")]
    scores = score_documents(
        model,
        tokenizer,
        texts,
        block_size=min(size for size in sizes if size is not None),
        batch_size=parsed.batch_size,
        show_progress=show_progress,
    )
    loss = -math.fsum(found.log_probability for found in scores)
    tokens = sum(len(found.tokens) for found in scores)
    size = sum(len(text.encode()) for text in texts if text.strip())
    return scores, (
        f"{counted_documents(len(texts))}, {tokens:,} tokens: perplexity {perplexity(loss / tokens):.2f}, "
        f"{loss / math.log(2) / size:.4f} bits per byte"
    )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant score",
        description="Write the log-probability (natural logarithm) of each given translation, one per line; or of each "
        "document under a language model, and, on standard error, the perplexity and bits per byte of all documents.",
    )
    add_model_options(parser)
    parser.add_argument("--source", metavar="FILE", help="file of source sentences, one per line")
    parser.add_argument("--target", metavar="FILE", help="file of translations of the source sentences, one per line")
    parser.add_argument(
        "--text",
        nargs="+",
        metavar="FILE",
        help="for language models: files of documents, in the formats that locant train reads",
    )
    parser.add_argument(
        "--document_separator",
        metavar="TEXT",
        help="separator of the documents in --text: file (each file is one document), blank_line, line (each line is a "
        "document), or another text (default: as in training, else file)",
    )
    meaning = "largest number of tokens of the pieces into which a document is cut (default: as in training, else 256)"
    add_number(parser, "--block_size", meaning)
    parser.add_argument("--tokens", action="store_true", help="write JSON lines with the log-probability of each token")
    parser.add_argument("--output", metavar="FILE", help="file for the results (default: standard output)")
    add_engine_options(parser)
    return parser
