# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Exports a Locant model to a folder for another inference engine."""

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.utils import CONFIG_NAME

from locant.configuration import LocantConfig
from locant.hub.errors import SharingError
from locant.hub.written_whole import whole_folder

FORMATS = ("ctranslate2", "onnx")

_OF_CODE = ("auto_map", "custom_pipelines", "locant_code")


def export(
    model_path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    format: str = "ctranslate2",
    *,
    quantization: str | None = None,
) -> Path:
    """Write the Locant model in `model_path` for another engine, with its config and processor; return the folder.

    Args:
        model_path: folder of a model, or its name on the Hub.
        target: folder to write, which appears when it is complete.
        format: `ctranslate2` for translators, `onnx` for encoders of text and images and their heads.
        quantization: for CTranslate2, the type of the stored weights: `float32` (by default), `int8`, `int8_float32`,
            `int8_float16`, `int8_bfloat16`, `int16`, `float16` or `bfloat16`.

    Raises:
        SharingError: the model or the format does not exist; the engine does not support the model's config; or
            `target` exists and is not empty. Nothing is written then.
    """
    if format not in FORMATS:
        raise SharingError(f"format={format!r} is not an engine: choose {' or '.join(FORMATS)}.")
    if format == "onnx" and quantization is not None:
        raise SharingError(
            f"quantization={quantization!r} is for CTranslate2: leave it out for ONNX, which is float32."
        )
    config = _read_config(model_path)
    with whole_folder(target) as unfinished:
        if format == "ctranslate2":
            from .ctranslate2_export import export_ctranslate2

            export_ctranslate2(model_path, config, unfinished, quantization or "float32")
        else:
            from .onnx_export import export_onnx

            export_onnx(model_path, config, unfinished)
    return Path(target)


def load_weights(model_class: Any, model_path: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Load the model, in evaluation mode.

    Raises:
        SharingError: the model cannot be loaded, or some of its weights are missing.
    """
    try:
        model, found = model_class.from_pretrained(model_path, output_loading_info=True, **kwargs)
    except (OSError, RuntimeError, ValueError) as error:
        raise SharingError(f"{model_path} cannot be loaded ({_first_line(error)}).") from error
    if found["missing_keys"]:
        raise SharingError(f"{model_path} has no weights called {sorted(found['missing_keys'])[0]}: train it first.")
    return model.eval()


def write_config(config: LocantConfig, folder: Path, others: dict[str, Any]) -> None:
    """Write `config.json`: the model's fields without those about its code, which is not exported, and `others`."""
    fields = {name: value for name, value in config.to_diff_dict().items() if name not in _OF_CODE}
    text = json.dumps({**fields, **others}, indent=2, sort_keys=True)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")


def _read_config(model_path: str | os.PathLike[str]) -> LocantConfig:
    try:
        config = AutoConfig.from_pretrained(model_path)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise SharingError(
            f"The config of {model_path} cannot be loaded ({_first_line(error)}): give the folder or Hub name of a "
            "model."
        ) from error
    if not isinstance(config, LocantConfig):
        raise SharingError(
            f"{model_path} holds a model of type {config.model_type!r}: locant convert makes a Locant model of it, "
            "which can be exported."
        )
    return config


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).strip().partition("\n")[0].rstrip(".")
