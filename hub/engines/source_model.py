# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Functions that the exports to CTranslate2 and to ONNX share: they load the model and its config, and write a config.

`hub/sharing` loads configs with `read_config` too.
"""

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.utils import CONFIG_NAME

from locant.checkpoints.checkpoint_files import CheckpointError
from locant.configuration import LocantConfig
from locant.utils.errors import first_line

from ..errors import SharingError

_CODE_FIELDS = ("auto_map", "custom_pipelines", "locant_code")


def load_weights(model_class: Any, model_path: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Load the model in `model_path`, and set it to evaluation mode.

    Raises:
        SharingError: the model cannot be loaded, or some of its weights are missing.
    """
    try:
        model, found = model_class.from_pretrained(model_path, output_loading_info=True, **kwargs)
    except (OSError, RuntimeError, ValueError) as error:
        # a CheckpointError says what is wrong with the file, and its cause is the error of a library
        reason = error if isinstance(error, CheckpointError) else error.__cause__ or error
        raise SharingError(f"{model_path} cannot be loaded ({first_line(reason)}).") from error
    if found["missing_keys"]:
        raise SharingError(
            f"{model_path} has no weights called {sorted(found['missing_keys'])[0]}: give a model that was saved with "
            f"all weights of a {model_class.__name__}."
        )
    return model.eval()


def write_config(config: LocantConfig, folder: Path, others: dict[str, Any]) -> None:
    """Write the fields `others`, and the fields of `config` except those about the model's code, to `config.json`."""
    fields = {name: value for name, value in config.to_diff_dict().items() if name not in _CODE_FIELDS}
    text = json.dumps({**fields, **others}, indent=2, sort_keys=True)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")


def read_config(model_path: str | os.PathLike[str]) -> LocantConfig:
    """Load the config of the Locant model in `model_path`.

    Raises:
        SharingError: the model is of another family.
        CheckpointError: the config cannot be loaded.
    """
    try:
        config = AutoConfig.from_pretrained(model_path)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        reason = first_line(error.__cause__ or error)
        raise CheckpointError(
            f"The config of {model_path} cannot be used ({reason}): give the folder or Hub name of a model."
        ) from error
    if not isinstance(config, LocantConfig):
        raise SharingError(
            f"{model_path} holds a model of type {config.model_type!r}, not a Locant model: locant convert makes "
            "Locant models from models of some types."
        )
    return config
