# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant evaluate`."""

import argparse

from locant.training.config_parser import RUN_CONFIG_FILE, read_run_data
from locant.training.errors import InputError
from locant.training.inference import evaluate_split, write_tsv
from locant.training.text_data import load_parallel_data

from .model_options import add_model_options, add_search_options, load_model, run_config_file, search_options
from .text_files import read_parallel


def run(arguments: list[str]) -> None:
    """Translate a test set, print the metrics, and write the translations where `--output` says."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if (parsed.source is None) != (parsed.reference is None):
        parser.error("--source and --reference belong together")
    if parsed.source is not None and parsed.split is not None:
        parser.error("give either --source and --reference, or --split")
    if parsed.source is not None:
        sources, references = read_parallel(parsed.source, parsed.reference)
    else:
        sources, references = _split(parsed.model, parsed.split or "test")
    model, tokenizer, options = load_model(parsed)
    metrics, rows = evaluate_split(model, tokenizer, sources, references, **options, **search_options(parsed))
    print(format_metrics(metrics))
    if parsed.output is not None:
        write_tsv(parsed.output, rows)


def format_metrics(metrics: dict) -> str:
    """The metrics of `evaluate_split` as a table."""
    lines = [
        ("BLEU", f"{metrics['bleu']:.2f}", metrics["bleu_signature"]),
        ("chrF", f"{metrics['chrf']:.2f}", metrics["chrf_signature"]),
        ("mean sentence BLEU", f"{metrics['sentence_bleu']:.2f}", metrics["sentence_bleu_signature"]),
        ("loss", f"{metrics['loss']:.4f}", "nats a token"),
        ("perplexity", f"{metrics['perplexity']:.2f}", ""),
        ("sentences", f"{metrics['sentences']:,}", ""),
    ]
    return "\n".join(f"{name:<18} {value:>9}  {note}".rstrip() for name, value, note in lines)


def _split(model: str, split: str) -> tuple[list[str], list[str]]:
    """The pairs of a split of the data that the model's run was trained on."""
    config_file = run_config_file(model)
    if config_file is None:
        raise InputError(
            f"{model} has no {RUN_CONFIG_FILE} that says where its {split} data are: give --source and --reference."
        )
    data, seed = read_run_data(config_file)
    splits = load_parallel_data(**data.sources, seed=seed)
    if split not in splits:
        raise InputError(f"The run has no {split} data ({config_file}): give --source and --reference.")
    return splits[split]["source"][:], splits[split]["target"][:]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "locant evaluate",
        description="Translate a test set, and print corpus BLEU, chrF, mean sentence BLEU, loss and perplexity.",
    )
    add_model_options(parser)
    parser.add_argument("--source", metavar="FILE", help="sources, a sentence a line")
    parser.add_argument("--reference", metavar="FILE", help="their translations")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="part of the data of the model's own run, instead of --source and --reference (default: test)",
    )
    parser.add_argument(
        "--output",
        metavar="TSV",
        help="write source, reference, translation, sentence BLEU; a sentence a line",
    )
    add_search_options(parser)
    return parser
