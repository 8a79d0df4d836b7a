# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Exports a text-to-text model to a folder for CTranslate2, with its tokenizer and its generation config.

CTranslate2 and transformers share one `config.json`: each of them reads the fields that it knows.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils import CONFIG_NAME

from locant.configuration import LocantConfig
from locant.modeling import LocantForConditionalGeneration
from locant.utils.errors import first_line, sentence
from locant.utils.run_files import RUN_CONFIG_FILE

from ..errors import SharingError
from ..sharing.card_data import read_settings
from .ctranslate2_model import SECTION, check_search_options
from .ctranslate2_spec import QUANTIZATIONS, build_spec, check_config
from .requirements import needs
from .source_model import load_weights, write_config


def export_ctranslate2(
    model_path: str | os.PathLike[str], config: LocantConfig, folder: Path, quantization: str
) -> None:
    """Write the text-to-text model in `model_path` to the empty `folder`, in the format of CTranslate2.

    Args:
        model_path: folder of the model, or its name on the Hub.
        config: the config of the model.
        folder: the folder to write.
        quantization: one of `QUANTIZATIONS`.

    Raises:
        SharingError: CTranslate2 does not support `config`, `quantization` or a generation option of the model, or is
            not installed; the model cannot be
            loaded, lacks weights or has no tokenizer; or its tokenizer has a token id that is not below `vocab_size`.
    """
    needs("ctranslate2")
    if quantization not in QUANTIZATIONS:
        raise SharingError(
            f"quantization={quantization!r} is not a type of weights in CTranslate2: choose {', '.join(QUANTIZATIONS)}."
        )
    positions = check_config(config)
    tokenizer = _load_tokenizer(model_path)
    tokens = vocabulary(tokenizer, config.vocab_size)
    model = load_weights(LocantForConditionalGeneration, model_path, dtype=torch.float32)
    generation_config: GenerationConfig = model.generation_config
    try:
        check_search_options(generation_config.to_diff_dict())
    except SharingError as error:
        raise SharingError(f"generation_config.json does not fit the export. {error}") from error

    spec = build_spec(model, tokens, tokenizer.unk_token or tokenizer.pad_token or tokens[0], quantization)
    tokenizer.save_pretrained(folder)
    generation_config.save_pretrained(folder)
    spec.save(str(folder))
    settings = {
        "quantization": quantization,
        "source_prefix": _source_prefix(model_path),
        "positions": positions,
    }
    named = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    write_config(config, folder, {**named, SECTION: settings})


def vocabulary(tokenizer: Any, size: int) -> list[str]:
    """List the tokens with the ids from 0 to `size` - 1; an id without a token gets a name such as `<unused_0>`.

    Raises:
        SharingError: the tokenizer has a token id of `size` or more.
    """
    ids = tokenizer.get_vocab()
    if max(ids.values()) >= size:
        raise SharingError(
            f"The tokenizer has token ids up to {max(ids.values()):,}, but vocab_size is {size:,}: save the tokenizer "
            "that the model was trained with."
        )
    by_id = {number: token for token, number in ids.items()}
    names = (name for number in range(2 * size) if (name := f"<unused_{number}>") not in ids)
    return [by_id[number] if number in by_id else next(names) for number in range(size)]


def _load_tokenizer(model_path: str | os.PathLike[str]) -> Any:
    try:
        return AutoTokenizer.from_pretrained(model_path)
    except ImportError as error:  # a tokenizer of transformers that needs another package
        raise SharingError(f"The tokenizer in {model_path} does not load: {sentence(first_line(error))}") from error
    except (OSError, ValueError, KeyError) as error:
        raise SharingError(
            f"{model_path} has no tokenizer that can be loaded, but CTranslate2 needs the tokenizer's vocabulary: save "
            "the tokenizer with the model."
        ) from error


def _source_prefix(model_path: str | os.PathLike[str]) -> str:
    """Read the text that training put before every source text; empty if there is no run config or no such text.

    The run config is in the model's folder or, if the model is a checkpoint of a run, in the folder above it.
    """
    path = Path(os.path.abspath(model_path))  # the parent of Path(".") is Path(".")
    for folder in (path, path.parent):
        file = folder / RUN_CONFIG_FILE
        if file.is_file():
            data = read_settings(file).get("data") or {}
            return data.get("source_prefix") or ""
    return ""
