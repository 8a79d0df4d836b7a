# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant serve`."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import AutoConfig

from locant.commands.command_parser import CommandParser
from locant.commands.engines import CTRANSLATE2, TORCH, add_engine_options, engine_of, load_in_engine
from locant.commands.model_options import (
    add_address_options,
    add_model_options,
    add_number,
    refuse_source_prefix,
    shows_progress,
)
from locant.commands.predict import load_pipeline, max_text_tokens
from locant.hub.pipelines.pipelines import find_task
from locant.serving.served_models import ServedClassifier, ServedTranslator
from locant.training.errors import InputError
from locant.training.inference import check_folder

_TASKS = ("translation", "text-classification")
_WARM_UP = "The cat sees the dog."


def run(arguments: list[str]) -> None:
    """Serve a translator or a text classifier until a signal ends the server."""
    parsed = _parser().parse_args(arguments)
    try:
        from locant.serving.app import create_app
        from locant.serving.batching import is_computing
        from locant.serving.http_server import bind, serve
        from locant.serving.schemas import Limits
    except ImportError as error:
        raise InputError(f"locant serve needs more packages ({error}): pip install 'locant[serve]'.") from error
    limits = Limits(
        texts=parsed.max_texts,
        text_length=parsed.max_text_length,
        num_beams=parsed.max_num_beams,
        max_new_tokens=parsed.max_new_tokens,
        body_bytes=parsed.max_body_bytes,
        waiting_texts=parsed.max_waiting,
        read_seconds=parsed.max_read_seconds,
    )
    if limits.texts > limits.waiting_texts:
        raise InputError(
            f"A request may have {limits.texts} texts, but the queue has room for {limits.waiting_texts}: give a "
            "smaller --max_texts or a larger --max_waiting."
        )
    listener = bind(parsed.host, parsed.port)
    print(f"Loading {parsed.model}", file=sys.stderr)
    # switch progress bars off, unless standard output is a file, standard error is a terminal, and --no_progress is not
    # given
    shows_progress(parsed)
    with _load(parsed) as (served, engine):
        # compute one text first: a model that cannot compute is not served, and the first request is not slower
        served.compute([_WARM_UP], {})
        app = create_app(served, parsed.model, engine, parsed.batch_size, limits)
        serve(app, listener, limits.read_seconds, parsed.stop_seconds, _print_ready)
    if is_computing():  # at its exit, Python would wait for the thread that computes a batch, beyond --stop_seconds
        sys.stderr.flush()
        os._exit(0)


def _print_ready(address: str) -> None:
    print(f"Ready at {address}; the page /docs describes the requests.", file=sys.stderr, flush=True)


@contextmanager
def _load(parsed: argparse.Namespace) -> Iterator[tuple[ServedTranslator | ServedClassifier, str]]:
    """Load the model, and yield it with the name of its engine.

    Raises:
        InputError, SharingError: the model does not load, or is for a task that is not served.
    """
    engine = engine_of(parsed)
    task = "translation" if engine == CTRANSLATE2 else find_served_task(parsed.model)
    if task not in _TASKS:
        raise InputError(
            f"{parsed.model} is for {task}, but locant serve serves translators and text classifiers: use locant "
            "predict."
        )
    if task == "translation":
        with load_in_engine(parsed) as (model, tokenizer, options):
            yield ServedTranslator(model, tokenizer, options["source_prefix"]), engine
        return
    refuse_source_prefix(parsed.source_prefix, task)
    pipe, data = load_pipeline(parsed, "sequence_classification")
    yield ServedClassifier(pipe, max_text_tokens(pipe, data)), TORCH


def find_served_task(model: str) -> str:
    """Return the name that the task of a model has in pipelines, such as `translation`.

    The class of a Locant model with a head decides the task. For every other model, the task is `text-classification`
    if the name of its class ends in `ForSequenceClassification`, or else `translation` if it is an encoder–decoder, or
    else `another task (CLASS)`. If the config does not load, the result is `translation`.

    Raises:
        InputError: `model` looks like a path but is not a folder, or the folder holds no finished model.
    """
    check_folder(model)
    if found := find_task(model, {}):
        return found
    try:
        config: Any = AutoConfig.from_pretrained(model)
    except (OSError, ValueError):  # the function that loads the model explains the error
        return "translation"
    name = next(iter(config.architectures or ()), "")
    if name.endswith("ForSequenceClassification"):
        return "text-classification"
    return "translation" if config.is_encoder_decoder else f"another task ({name})"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant serve",
        description="Answer HTTP requests for translations or classifications. The texts of different clients are "
        "computed together in batches. The page /docs of the server describes the requests. The server has no access "
        "control and no encryption.",
    )
    add_model_options(parser)
    add_address_options(parser, 8000)
    meaning = "seconds after SIGTERM or Ctrl-C in which received requests are still answered"
    add_number(parser, "--stop_seconds", meaning, 30)
    add_engine_options(parser)
    group = parser.add_argument_group("limits")
    for name, default, meaning in (
        ("max_waiting", 1024, "texts in the queue; a request that does not fit is answered with status 503"),
        ("max_texts", 256, "texts in a request"),
        ("max_text_length", 2000, "characters in a text"),
        ("max_body_bytes", 2**20, "bytes in the body of a request"),
        ("max_read_seconds", 10, "seconds in which the headers of a request, and then its body, must arrive"),
        ("max_num_beams", 8, "beams that a request may ask for"),
        ("max_new_tokens", 512, "tokens of a translation that a request may ask for"),
    ):
        add_number(group, f"--{name}", meaning, default)
    return parser
