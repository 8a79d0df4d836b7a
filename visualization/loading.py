# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Loads a model with its tokenizer or image processor, and opens images."""

import os
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
)

from locant.training.errors import InputError
from locant.training.inference import check_folder, load
from locant.utils.errors import first_line, reason_of


def load_model(
    name: str | os.PathLike[str], device: str | torch.device | None = None, *, reads_image: bool = False
) -> tuple[PreTrainedModel, Any, Any]:
    """Load a model, its tokenizer and its image processor.

    Args:
        name: the folder or Hub name of the model.
        device: by default the accelerator if there is one, else the CPU.
        reads_image: whether the model is to read an image; it reads a text otherwise.

    Returns:
        The model; its tokenizer, or None if it neither reads nor writes text; its image processor, or None if it reads
        text.

    Raises:
        InputError: there is no such model, or it does not read what is given.
    """
    check_folder(name)
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise InputError(
            f"{name} does not load ({reason_of(error)}): give the folder or the Hub name of a model."
        ) from error
    if _has_patches(config) != reads_image:
        read, given = ("a text", "an image") if reads_image else ("an image", "a text")
        raise InputError(f"{name} reads {read}, but was given {given}: give {read}.")
    if not reads_image:
        auto_class: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModel
        return *load(name, device, auto_class, AutoTokenizer), None
    auto_class = AutoModelForImageTextToText if config.is_encoder_decoder else AutoModel
    model, image_processor = load(name, device, auto_class, AutoImageProcessor)
    tokenizer = AutoTokenizer.from_pretrained(name) if config.is_encoder_decoder else None
    return model, tokenizer, image_processor


def _has_patches(config: Any) -> bool:
    """Whether a config is that of a model for images: it has a patch size, itself or in the config of its encoder."""
    if config.model_type == "locant":
        return config.encoder_input == "patches" and not config.is_decoder
    return any(hasattr(part, "patch_size") for part in (config, getattr(config, "encoder", None)))


def open_image(image: Any) -> Any:
    """The image at a path, in RGB; an image that is not a path is returned as it is.

    Raises:
        InputError: there is no image at the path, or Pillow is not installed.
    """
    if not isinstance(image, str | os.PathLike):
        return image
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("Reading an image needs Pillow: pip install 'locant[vision]'.") from error
    try:
        with Image.open(image) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{image} cannot be read as an image ({first_line(error)}): give an image file.") from error
