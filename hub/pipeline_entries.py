# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The text-to-text pipelines go with a saved model, so that `transformers.pipeline` finds them in its folder.

`transformers.pipeline(task, model=..., trust_remote_code=True)` looks a task up in the `custom_pipelines` of the
model's config, and takes the class from a file that lies beside it.
"""

import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.modeling_locant import LocantForConditionalGeneration

from . import text_to_text_pipelines
from .pipelines import PIPELINES

logger = logging.get_logger(__name__)

SOURCE = Path(text_to_text_pipelines.__file__)


def write_pipelines(model: PreTrainedModel, folder: Path) -> None:
    """Enter the pipelines of a text-to-text model into its config, and copy their file into `folder`.

    Entries that are not of that file stay. Where the file cannot be copied, a warning says so and the config has no
    entries: the model itself can still be saved.
    """
    config: Any = model.config
    before = getattr(config, "custom_pipelines", None) or {}
    others = {task: entry for task, entry in before.items() if not entry.get("impl", "").startswith(f"{SOURCE.stem}.")}
    ours = {}
    if isinstance(model, LocantForConditionalGeneration) and config.encoder_input == "tokens":
        try:
            _copy(SOURCE, folder / SOURCE.name)
            ours = pipeline_entries(config)
        except OSError as error:
            logger.warning(f"The model is saved without its pipelines, which cannot be copied to {folder}: {error}.")
    if ours or before:
        config.custom_pipelines = {**ours, **others}


def pipeline_entries(config: LocantConfig) -> dict[str, dict[str, Any]]:
    """The `custom_pipelines` of a text-to-text model."""
    classes = dict(PIPELINES)
    if config.source_lang and config.target_lang:
        classes[f"translation_{config.source_lang}_to_{config.target_lang}"] = PIPELINES["translation"]
    return {
        task: {"impl": f"{SOURCE.stem}.{pipeline.__name__}", "pt": ["AutoModelForSeq2SeqLM"]}
        for task, pipeline in classes.items()
    }


def _copy(source: Path, target: Path) -> None:
    """Copy whole or not at all: others may be reading the folder."""
    if target.exists() and target.samefile(source):
        return
    beside = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
