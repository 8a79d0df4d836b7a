# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The model families that Locant converts from and to, with one file for each family."""

import importlib

from .family import Family

# model_type -> the class that describes the family. The file with the class is named after the model_type, and imported
# when the family is needed
_FAMILIES = {
    "bart": "Bart",
    "bert": "Bert",
    "gpt2": "GPT2",
    "llama": "Llama",
    "marian": "Marian",
    "t5": "T5",
    "vit": "ViT",
}
MODEL_TYPES = tuple(_FAMILIES)
"""The values that the option `--to` of `locant convert` takes."""


def find_family(model_type: str) -> Family:
    """Return the `Family` object for `model_type`, which must be one of `MODEL_TYPES`."""
    return getattr(importlib.import_module(f".{model_type}", __name__), _FAMILIES[model_type])()


__all__ = ["MODEL_TYPES", "Family", "find_family"]
