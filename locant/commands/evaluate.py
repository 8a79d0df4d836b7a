# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant evaluate`."""

import argparse
import dataclasses
from contextlib import ExitStack, nullcontext
from typing import Any

from locant.commands.command_parser import CommandParser
from locant.commands.engines import TORCH, add_engine_options, engine_of, load_in_engine
from locant.commands.model_options import (
    add_model_options,
    add_search_options,
    refuse_source_prefix,
    search_options,
    shows_progress,
    trained_with,
)
from locant.commands.text_files import output, read_parallel
from locant.training.errors import InputError
from locant.training.inference import evaluate_split, load, print_tsv
from locant.training.options.arguments import GenerationTrainingArguments
from locant.training.tasks.recipe import MetricLine, class_lines, recipe_of
from locant.training.tasks.registry import TASKS
from locant.training.tasks.translation import translation_lines
from locant.training.tasks.translation_arguments import TranslationData
from locant.utils.run_files import RUN_CONFIG_FILE


def run(arguments: list[str]) -> None:
    """Measure a model, print the metrics, and, if `--output` is given, write the predictions to a TSV file."""
    parser = _parser()
    parsed, data_options = parser.parse_known_args(arguments)
    if parsed.test_file is not None:
        data_options = ["--test_file", *parsed.test_file, *data_options]
    if (parsed.source is None) != (parsed.reference is None):
        parser.error("--source and --reference belong together: give both of them or neither")
    if parsed.source is not None and parsed.split is not None:
        parser.error("give either --source and --reference, or --split")
    if parsed.source is not None and data_options:
        parser.error(f"{data_options[0]} does not go with --source and --reference")
    if parsed.test_file is not None and parsed.split not in (None, "test"):
        parser.error(f"--test_file does not go with --split {parsed.split}")
    with nullcontext() if parsed.output is None else output(parsed.output) as file:
        found, lines = _measure_split(parsed, data_options) if parsed.source is None else _measure_files(parsed)
        print("\n".join(f"{name:<18} {value:>9}  {note}".rstrip() for name, value, note in lines))
        if file is not None:
            print_tsv(found, file)


def _measure_files(parsed: argparse.Namespace) -> tuple[list[Any], list[MetricLine]]:
    """Measure a translator on two parallel files, and return its translations and the lines to print."""
    task = trained_with(parsed.model)[0]
    if task is not None and task is not TASKS["translation"]:
        raise InputError(
            f"--source and --reference are for translators, but {parsed.model} is a model for {task.name}: leave both "
            "out, or give --test_file instead."
        )
    sources, references = read_parallel(parsed.source, parsed.reference)
    with load_in_engine(parsed) as (model, tokenizer, options):
        metrics, rows = evaluate_split(model, tokenizer, sources, references, **options, **search_options(parsed))
    return rows, translation_lines(metrics)


def _measure_split(parsed: argparse.Namespace, data_options: list[str]) -> tuple[list[Any], list[MetricLine]]:
    """Measure a model of any task on a split of the data of its training run.

    Returns the predictions, and the lines to print.

    Args:
        parsed: the arguments of the command.
        data_options: the arguments of the command that are options of the section `data:` of `locant train`; they
            take precedence over the options of the training run.
    """
    engine, split = engine_of(parsed), parsed.split or "test"
    task, data, seed = trained_with(parsed.model, data_options)
    if task is None:
        raise InputError(
            f"{parsed.model} has no {RUN_CONFIG_FILE}, from which the task and the {split} data are read: give "
            "--source and --reference if the model is a translator."
        )
    if engine != TORCH and task is not TASKS["translation"]:
        raise InputError(f"--engine {engine} is for translators, not for {task.name}: leave it out.")
    search = search_options(parsed)
    if search and not issubclass(task.training, GenerationTrainingArguments):
        raise InputError(f"--{next(iter(search))} is for models that generate text, not for {task.name}: leave it out.")
    if not isinstance(data, TranslationData):
        refuse_source_prefix(parsed.source_prefix, task.name)
    elif parsed.source_prefix is not None:
        data = dataclasses.replace(data, source_prefix=parsed.source_prefix)
    show_progress = shows_progress(parsed)
    recipe = recipe_of(task)(data, seed)
    rows = recipe.load_split(split)
    with ExitStack() as stack:
        if engine == TORCH:
            model, processor = load(parsed.model, parsed.device, recipe.auto_class, recipe.processor_class)
        else:
            model, processor, _ = stack.enter_context(load_in_engine(parsed))
        options = {"batch_size": parsed.batch_size, "show_progress": show_progress}
        metrics, found = recipe.measure(model, processor, rows, **options, **search)
    return found, [*recipe.lines(metrics), *class_lines(metrics)]


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant evaluate",
        usage="locant evaluate MODEL [--test_file FILE] [--option value ...]",
        description="Measure a model with the metrics of its task, on the data of its training run or on another "
        "--test_file in a format that locant train reads; or measure a translator on two parallel files. All options "
        "of the section data: of locant train, such as --label_column, can be given too.",
    )
    add_model_options(parser)
    parser.add_argument("--source", metavar="FILE", help="for translators: file of source sentences, one per line")
    parser.add_argument(
        "--reference", metavar="FILE", help="file of reference translations of the source sentences, one per line"
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="part of the data of the model's training run, instead of --source and --reference (default: test)",
    )
    parser.add_argument(
        "--test_file", nargs="+", metavar="FILE", help="files of test data, instead of the test data of the run"
    )
    parser.add_argument(
        "--output", metavar="TSV", help="TSV file to which the prediction for each row is written, one row per line"
    )
    add_search_options(parser)
    add_engine_options(parser)
    return parser
