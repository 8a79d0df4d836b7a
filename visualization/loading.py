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
from locant.utils.errors import reason_of


def load_model(
    name: str | os.PathLike[str], device: str | torch.device | None = None, *, reads_image: bool = False
) -> tuple[PreTrainedModel, Any, Any]:
    """Load a model, its tokenizer and its image processor.

    Args:
        name: the folder or Hub name of the model.
        device: the device of the model; by default the accelerator if there is one, else the CPU.
        reads_image: whether the model must read images; if False, the model must read text.

    Returns:
        The model; its tokenizer, or None if the model neither reads nor writes text; its image processor, or None if
        the model reads text.

    Raises:
        InputError: the model does not load, or does not read the kind of input that `reads_image` says.
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
    if not config.is_encoder_decoder:
        return model, None, image_processor
    try:
        return model, AutoTokenizer.from_pretrained(name), image_processor
    except (OSError, ValueError) as error:
        raise InputError(f"{name} has no tokenizer that loads ({reason_of(error)}): save one there.") from error


def _has_patches(config: Any) -> bool:
    """Return whether the model of a config reads images.

    A model of another family than Locant reads images if its config, or the config of its encoder, has a patch size.
    """
    if config.model_type == "locant":
        return config.encoder_input == "patches" and not config.is_decoder
    return any(hasattr(part, "patch_size") for part in (config, getattr(config, "encoder", None)))


def open_image(image: Any) -> Any:
    """Open the image file at a path in RGB; return an `image` that is not a path, such as an array, unchanged.

    Raises:
        InputError: there is no image at the path, or Pillow is not installed.
    """
    if not isinstance(image, str | os.PathLike):
        return image
    try:
        from locant.training.data import images
    except ImportError as error:
        raise InputError("Reading an image needs Pillow: pip install 'locant[vision]'.") from error
    return images.open_image(image)
