# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Loads a translator into the engine that runs it: PyTorch or CTranslate2."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from locant.checkpoints.checkpoint_files import WEIGHT_FILES
from locant.commands.model_options import load_model, shows_progress, text_options
from locant.training.errors import InputError
from locant.training.inference import check_folder
from locant.utils.errors import first_line

TORCH, CTRANSLATE2 = ENGINES = ("torch", "ctranslate2")
GRAPH_FILE = "model.onnx"  # equals `GRAPH_FILE` of `locant.hub.engines.onnx_export`, which is slow to import


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `--engine` and `--compute_type`."""
    group = parser.add_argument_group("engine, for translators")
    group.add_argument(
        "--engine",
        choices=ENGINES,
        help="library that runs the model (default: ctranslate2 for a folder that locant export wrote for CTranslate2, "
        "else torch)",
    )
    group.add_argument(
        "--compute_type",
        metavar="TYPE",
        help="type in which CTranslate2 computes, such as float32 or int8; auto takes the fastest type on the device "
        "(default: the type in which the weights are stored, if the device supports it)",
    )


def engine_of(parsed: argparse.Namespace) -> str:
    """Return the engine that `--engine` names.

    The default is `ctranslate2` for a folder with a model for CTranslate2 and no weights for PyTorch, else `torch`.

    Raises:
        InputError: the folder holds only a model for ONNX; or `--engine` is `torch`, but the folder holds only a model
            for CTranslate2; or `--compute_type` is given and the engine is `torch`.
    """
    from locant.hub.engines.ctranslate2_model import is_exported

    folder = Path(parsed.model)
    has_weights = any((folder / name).is_file() for name in WEIGHT_FILES)
    if (folder / GRAPH_FILE).is_file() and not has_weights:
        raise InputError(
            f"{folder} was exported for ONNX, which no command of Locant can run: run {GRAPH_FILE} in onnxruntime, or "
            "give the folder of the original model."
        )
    is_for_ctranslate2 = is_exported(folder) and not has_weights
    engine = parsed.engine or (CTRANSLATE2 if is_for_ctranslate2 else TORCH)
    if engine == TORCH and is_for_ctranslate2:
        raise InputError(
            f"{folder} was exported for CTranslate2 and has no weights for PyTorch: leave --engine torch out, or give "
            "the folder of the original model."
        )
    if engine == TORCH and parsed.compute_type is not None:
        raise InputError(
            f"--compute_type {parsed.compute_type} is for --engine ctranslate2 only: leave it out, or add --engine "
            "ctranslate2."
        )
    return engine


@contextmanager
def load_in_engine(parsed: argparse.Namespace) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Load a model into the engine that `engine_of` returns.

    Yields the model, its tokenizer and the result of `text_options`.

    Raises:
        InputError, SharingError: the model does not load, the device cannot be used, the engine is not installed, or
            the engine cannot run the model.
    """
    if engine_of(parsed) == TORCH:
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
        except (ImportError, OSError, ValueError) as error:
            raise InputError(
                f"The tokenizer in {folder} cannot be loaded ({first_line(error)}): export the model again."
            ) from error
        yield model, tokenizer, text_options(parsed, prefix, show_progress)
