# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Exports a Locant model to a folder for another inference engine."""

import os
from pathlib import Path

from ..errors import SharingError
from ..new_folder import new_folder
from .source_model import read_config

FORMATS = ("ctranslate2", "onnx")


def export(
    model_path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    format: str = "ctranslate2",
    *,
    quantization: str | None = None,
) -> Path:
    """Export a Locant model to a folder for another inference engine, and return the folder.

    The folder also holds the config, and the tokenizer or image processor if the model was saved with one.

    Args:
        model_path: folder of a model, or its name on the Hub.
        target: folder to write, which must be empty or not exist yet. Its files appear only when all are written.
        format: `ctranslate2` for encoder–decoders that read text; `onnx` for encoders of text or images, with or
            without a head.
        quantization: for CTranslate2, the type of the stored weights: `float32` (default), `int8`, `int8_float32`,
            `int8_float16`, `int8_bfloat16`, `int16`, `float16` or `bfloat16`. For ONNX, it must be None.

    Raises:
        SharingError: the model does not load; `format` or `quantization` is invalid; the engine does not support the
            model; the outputs of the ONNX graph differ from those of the model; a package is not installed; or `target`
            is not empty or cannot be written. No folder is written in these cases.
        CheckpointError: the model does not exist, or its config cannot be used.
    """
    if format not in FORMATS:
        raise SharingError(f"format={format!r} is not a format to export to: choose {' or '.join(FORMATS)}.")
    if format == "onnx" and quantization is not None:
        raise SharingError(
            f"quantization={quantization!r} is for CTranslate2: leave it out for ONNX, which stores float32."
        )
    config = read_config(model_path)
    with new_folder(target) as unfinished:
        if format == "ctranslate2":
            from .ctranslate2_export import export_ctranslate2

            export_ctranslate2(model_path, config, unfinished, quantization or "float32")
        else:
            from .onnx_export import export_onnx

            export_onnx(model_path, config, unfinished)
    return Path(target)
