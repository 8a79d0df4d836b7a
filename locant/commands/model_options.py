# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Options that several commands share, and functions that apply these options."""

import argparse
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from locant.training.errors import InputError
from locant.training.inference import load
from locant.training.options.run_config import read_run_data
from locant.training.tasks.registry import Task
from locant.utils.run_files import RUN_CONFIG_FILE


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the model, the device, the batch size, the source prefix and the progress bar."""
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of the model")
    add_run_options(parser)
    parser.add_argument(
        "--source_prefix",
        metavar="TEXT",
        help="text put before every source (default: the prefix in training, if known)",
    )


def add_run_options(parser: argparse.ArgumentParser, items: str = "rows") -> None:
    """Add the options `--device`, `--batch_size`, which counts `items`, and `--no_progress`."""
    add_device_option(parser)
    add_number(parser, "--batch_size", f"number of {items} in a batch", 32)
    parser.add_argument("--no_progress", action="store_true", help="draw no progress bar")


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--device`."""
    parser.add_argument(
        "--device", help="device for the model, such as cpu, cuda or cuda:1 (default: the accelerator if there is one)"
    )


def add_address_options(parser: argparse.ArgumentParser, default_port: int) -> None:
    """Add the options `--host` and `--port` of a server."""
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)"
    )
    meaning = f"port, 0 for any free port (default: {default_port})"
    parser.add_argument("--port", type=port, default=default_port, metavar="N", help=meaning)


def add_number(parser: Any, name: str, meaning: str, default: int | None = None) -> None:
    """Add an option whose value is a whole number above 0; the help names the default unless it is None.

    Args:
        parser: the parser, or a group of its options.
        name: the name of the option, with its dashes.
        meaning: the help of the option, without the default.
        default: the value of the option if the command line does not give it.
    """
    shown = "" if default is None else f" (default: {default})"
    parser.add_argument(name, type=positive, default=default, metavar="N", help=meaning + shown)


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the search: `--num_beams`, `--max_new_tokens` and `--length_penalty`."""
    group = parser.add_argument_group("search", "defaults: the values in the generation config of the model")
    add_number(group, "--num_beams", "number of beams; 1 is greedy search")
    add_number(group, "--max_new_tokens", "longest generated text, in tokens")
    group.add_argument(
        "--length_penalty",
        type=float,
        metavar="X",
        help="exponent X: beam search divides the log-probability of a text by (number of tokens) ** X",
    )


def search_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the search options that the command line gives, as keyword arguments of `generate`."""
    given = {name: getattr(arguments, name) for name in ("num_beams", "max_new_tokens", "length_penalty")}
    return {name: value for name, value in given.items() if value is not None}


def refuse_source_prefix(source_prefix: str | None, task: str) -> None:
    """Raise `InputError` if a source prefix is given for a model of `task`, which is not a translator."""
    if source_prefix is not None:
        raise InputError(f"--source_prefix is for translators, not for {task}: leave it out.")


def load_model(arguments: argparse.Namespace) -> tuple[Any, Any, dict[str, Any]]:
    """Load a sequence-to-sequence model into PyTorch; return the model, its tokenizer and the result of `text_options`.

    Raises:
        InputError: the model does not load, or the device cannot be used.
    """
    show_progress = shows_progress(arguments)
    model, tokenizer = load(arguments.model, arguments.device)
    prefix = arguments.source_prefix
    if prefix is None:
        prefix = getattr(trained_with(arguments.model)[1], "source_prefix", None)
    return model, tokenizer, text_options(arguments, prefix, show_progress)


def text_options(arguments: argparse.Namespace, source_prefix: str | None, show_progress: bool) -> dict[str, Any]:
    """Return the keyword arguments that `score`, `translate_stream` and `evaluate_split` have in common."""
    return {
        "batch_size": arguments.batch_size,
        "source_prefix": source_prefix or "",
        "show_progress": show_progress,
    }


def shows_progress(arguments: argparse.Namespace) -> bool:
    """Return whether to draw progress bars; if not, also switch off the progress bars of transformers and datasets.

    Progress bars are drawn if standard error is a terminal, the results go to a file, and `--no_progress` is not given.
    """
    to_file = getattr(arguments, "output", None) is not None or _is_file(sys.stdout)
    if arguments.no_progress or not to_file or not sys.stderr.isatty():
        disable_progress_bar()
        disable_progress_bars()
        return False
    return True


def _is_file(stream: TextIO) -> bool:
    """Return whether the stream writes to a regular file, and not to a terminal, a pipe or memory."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def trained_with(model: str, options: Sequence[str] = ()) -> tuple[Task | None, Any, int]:
    """Return the task, the data options and the seed of the training run of a model; None, None and 0 if not known.

    Args:
        model: the folder or Hub name of the model.
        options: options of the section `data:`, as on the command line, which replace those of the run.

    Raises:
        InputError: the `run_config.yaml` of the run cannot be read, or an option is invalid.
    """
    config_file = run_config_file(model)
    return (None, None, 0) if config_file is None else read_run_data(config_file, options)


def run_config_file(model: str) -> Path | None:
    """Return the path of a run's `run_config.yaml` if `model` is the run's folder or a checkpoint in it; else None."""
    folder = Path(os.path.abspath(model))  # the parent of Path(".") is Path(".")
    candidates = (folder / RUN_CONFIG_FILE, folder.parent / RUN_CONFIG_FILE)
    return next((path for path in candidates if Path(model).is_dir() and path.is_file()), None)


def positive(text: str) -> int:
    """Convert `text` to a whole number above 0; raise `ArgumentTypeError` if that is not possible."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def port(text: str) -> int:
    """Convert `text` to the number of a port; raise `ArgumentTypeError` or `ValueError` if it is not a port number."""
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 65535")
    return number
