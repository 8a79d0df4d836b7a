# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant demo`."""

import argparse
import functools
import sys
import webbrowser
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from locant.commands.command_parser import CommandParser
from locant.commands.model_options import (
    add_address_options,
    add_device_option,
    load_model,
    refuse_source_prefix,
    shows_progress,
)
from locant.commands.predict import image_files, load_pipeline, max_text_tokens, predict_inputs
from locant.commands.serve import find_served_task
from locant.training.data.tables import read_lines
from locant.training.errors import InputError

_MOST_EXAMPLES = 10
_IDLE_SECONDS, _STOP_SECONDS = 60, 1
_NEW_TOKENS = 40  # preset number of tokens of a continuation if the model's generation config has no `max_new_tokens`


def run(arguments: list[str]) -> None:
    """Serve a page on which to try a model, until a signal ends the server."""
    parsed = _parser().parse_args(arguments)
    shows_progress(parsed)  # switches progress bars off, because the parser sets `no_progress`
    try:
        from locant.serving.demo_page import build_page, create_app
        from locant.serving.http_server import bind, serve
    except ImportError as error:
        raise InputError(f"locant demo needs more packages ({error}): pip install 'locant[demo]'.") from error
    listener = bind(parsed.host, parsed.port)
    print(f"Loading {parsed.model}", file=sys.stderr)
    app = create_app(build_page(parsed.model, load_form(parsed)))

    def on_ready(address: str) -> None:
        print(f"Ready at {address}", file=sys.stderr, flush=True)
        if parsed.open:
            webbrowser.open(address)

    # with a lower log level, uvicorn prints a traceback for each page that is open in a browser when the server stops
    serve(app, listener, _IDLE_SECONDS, _STOP_SECONDS, on_ready, log_level="critical")


def load_form(parsed: argparse.Namespace) -> Callable[[], None]:
    """Load the model, and return a function that adds the input and output fields of the model's task to a page.

    Raises:
        InputError: the model or the examples do not load, or `locant demo` does not support the model's task.
    """
    from locant.serving import demo_page
    from locant.serving.served_models import ServedClassifier, ServedTranslator

    if find_served_task(parsed.model) == "translation":
        model, tokenizer, options = load_model(parsed)
        served = ServedTranslator(model, tokenizer, options["source_prefix"])
        beams = model.generation_config.num_beams or 1
        return functools.partial(demo_page.add_translation, served, beams, _texts(parsed))

    pipe, data = load_pipeline(parsed)
    refuse_source_prefix(parsed.source_prefix, pipe.task)
    predict = functools.partial(_predict, pipe)
    match pipe.task:
        case "text-classification":
            classifier = ServedClassifier(pipe, max_text_tokens(pipe, data))
            return functools.partial(demo_page.add_text_classification, classifier, _texts(parsed))
        case "fill-mask":
            return functools.partial(demo_page.add_fill_mask, predict, pipe.tokenizer.mask_token, _texts(parsed))
        case "text-generation":
            length = pipe.model.generation_config.max_new_tokens or _NEW_TOKENS
            return functools.partial(demo_page.add_text_generation, predict, length, _texts(parsed))
        case "image-classification":
            labels = pipe.model.config.num_labels
            return functools.partial(demo_page.add_image_classification, predict, labels, _images(parsed))
        case "image-text-to-text":
            return functools.partial(demo_page.add_captioning, predict, _images(parsed))
    raise InputError(f"{parsed.model} is for {pipe.task}, for which there is no page: use locant predict.")


def _predict(
    pipe: Any, given: str, *, top_k: int | None = None, do_sample: bool = False, max_new_tokens: int | None = None
) -> Any:
    """Return the prediction of `locant predict`, with the given options, for one text or for the image at one path."""
    options = argparse.Namespace(batch_size=1, top_k=top_k, do_sample=do_sample, max_new_tokens=max_new_tokens)
    [found] = predict_inputs(pipe, [given], options, max_length=None)
    return found


def _texts(parsed: argparse.Namespace) -> Sequence[str]:
    """Read the example texts of the page: the first `_MOST_EXAMPLES` non-blank lines of the files in `--examples`."""
    lines = (line for file in parsed.examples for line in read_lines(file) if line.strip())
    return list(islice(lines, _MOST_EXAMPLES))


def _images(parsed: argparse.Namespace) -> Sequence[str]:
    """Find the example images: the first `_MOST_EXAMPLES` images of the files and folders in `--examples`."""
    if not parsed.examples:
        return []
    return list(islice(image_files(parsed.model, parsed.examples), _MOST_EXAMPLES))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant demo",
        description="Serve a page on which to try a model: translation with scores and attention, classification of "
        "texts or images, masked words, continuations, or captions. The page loads nothing from other hosts. It has no "
        "access control and no encryption.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of the model")
    parser.add_argument(
        "--examples",
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"files of texts, one text per line; or images, or folders of images; the page offers the first "
        f"{_MOST_EXAMPLES} texts or images as examples",
    )
    add_address_options(parser, 7860)
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    add_device_option(parser)
    parser.add_argument(
        "--source_prefix",
        metavar="TEXT",
        help="text put before every source (default: the prefix in training, if known)",
    )
    parser.set_defaults(no_progress=True, batch_size=1)
    return parser
