# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant.pipeline`: `transformers.pipeline` with the text-to-text tasks that transformers no longer has."""

import json
import os
from copy import copy
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, Pipeline, PretrainedConfig, PreTrainedModel
from transformers.utils import find_adapter_config_file

from locant.configuration.configuration_locant import LocantConfig

from .pipeline_tasks import pipeline_task
from .text_to_text_pipelines import (
    LANGUAGES,
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TextToTextPipeline,
    TranslationPipeline,
    check_task,
)

PIPELINES: dict[str, type[TextToTextPipeline]] = {
    "translation": TranslationPipeline,
    "summarization": SummarizationPipeline,
    "text2text-generation": Text2TextGenerationPipeline,
}
HUB_OPTIONS = ("revision", "token", "trust_remote_code", "local_files_only", "code_revision")


def pipeline(
    task: str | None = None, model: str | os.PathLike[str] | PreTrainedModel | None = None, **kwargs: Any
) -> Pipeline:
    """Build a pipeline as `transformers.pipeline` does, also for the text-to-text tasks.

    The text-to-text tasks are `translation`, `translation_xx_to_yy`, `summarization` and `text2text-generation`. Their
    pipelines are subclasses of `TextToTextPipeline`, and work with every encoder–decoder, of Locant or of transformers,
    that generates text from text. All other tasks are passed to `transformers.pipeline` unchanged.

    Args:
        task: the name of the task; by default the task that the class of a Locant model is for. For other models,
            transformers looks up the default on the Hub.
        model: a folder, the name of a repository on the Hub, or a model object, which also needs `tokenizer`.
        **kwargs: as in `transformers.pipeline`, for example `tokenizer`, `device`, `device_map`, `dtype` and
            `batch_size`. In a text-to-text task, the code in the repository of a Locant model is never run, whatever
            `trust_remote_code` says.

    Raises:
        ValueError: the task is a text-to-text task, and the model is missing, is not an encoder–decoder that reads
            text, cannot generate, or translates between other languages than `translation_xx_to_yy` names.
    """
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if task is None and model is not None:
        task = find_task(model, kwargs)
    pipeline_class = PIPELINES.get("translation" if LANGUAGES.fullmatch(task or "") else task or "")
    if task is None or pipeline_class is None:
        # the overloads of transformers.pipeline accept literal task names only, so mypy refuses a variable
        return transformers.pipeline(task, model=model, **kwargs)  # type: ignore[arg-type]
    if model is None:
        raise ValueError(
            f"The pipeline {task!r} has no default model: give model=, a folder, a name on the Hub or a model object."
        )
    if isinstance(model, str):
        base = _base_model(model, kwargs)
        config = _load_config(base, kwargs)
        if base != model:
            kwargs.setdefault("tokenizer", base)
    else:
        config = copy(model.config)
    check_task(task, config)
    if isinstance(config, LocantConfig):
        kwargs["trust_remote_code"] = False
    # transformers refuses the names of text-to-text tasks unless the config names a pipeline for them
    config.custom_pipelines = {task: {"impl": pipeline_class.__name__, "pt": "AutoModelForSeq2SeqLM"}}
    options: Any = {"pipeline_class": pipeline_class, **kwargs, "config": config}
    return transformers.pipeline(task, model=model, **options)  # type: ignore[call-overload]


def find_task(model: str | PreTrainedModel, kwargs: dict[str, Any]) -> str | None:
    """Return the pipeline task that the class of a Locant model is for.

    Args:
        model: a folder, the name of a repository on the Hub, or a model object.
        kwargs: the keyword arguments of `pipeline`.

    Returns:
        The name of the task. None if the class is for no task, if the config cannot be loaded, or if the model is not a
        Locant model; in these three cases, `pipeline` leaves the choice of the task to transformers.
    """
    if isinstance(model, PreTrainedModel):
        config: Any = model.config
        name: str | None = type(model).__name__
    elif not isinstance(model, str):  # a model in a wrapper, such as that of PEFT
        return None
    else:
        try:
            config = _load_config(_base_model(model, kwargs), kwargs)
        except (OSError, ValueError):  # transformers reports the error, or finds the task without a config
            return None
        name = next(iter(config.architectures or ()), None)
    if not isinstance(config, LocantConfig):
        return None
    reads_images = config.encoder_input != "tokens"
    if name == "LocantForConditionalGeneration" and not reads_images:
        return "translation"
    return pipeline_task(name, reads_images)


def _base_model(model: str, kwargs: dict[str, Any]) -> str:
    """Return the folder or Hub name of the base model if `model` holds only an adapter; otherwise return `model`."""
    options = {name: kwargs[name] for name in ("revision", "token") if name in kwargs}
    adapter = find_adapter_config_file(model, **options)
    if adapter is None or Path(model, "config.json").is_file():
        return model
    return json.loads(Path(adapter).read_text(encoding="utf-8"))["base_model_name_or_path"]


def _load_config(model: str, kwargs: dict[str, Any]) -> PretrainedConfig:
    config = kwargs.get("config") or model
    if isinstance(config, PretrainedConfig):
        return copy(config)
    options = {name: kwargs[name] for name in HUB_OPTIONS if name in kwargs}
    return AutoConfig.from_pretrained(config, **options, **(kwargs.get("model_kwargs") or {}))
