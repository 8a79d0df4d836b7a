# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The model that a run begins with: a new one, or a trained one to fine-tune."""

from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedModel

from locant.utils.errors import first_line, reason_of, sentence

from ..errors import InputError
from ..inference import check_folder
from ..main_process import print_in_main_process
from ..options.arguments import FREE_IN_FINE_TUNING
from ..options.run_config import RunConfig
from ..tasks.recipe import PreparedData, Recipe
from ..tasks.registry import TASKS


def build_model(run: RunConfig, recipe: Recipe, prepared: PreparedData) -> PreTrainedModel:
    """Build a new model, or load the trained model that `model_name_or_path` names, with the Auto class of `recipe`.

    Raises:
        InputError: the trained model does not load, or lacks most weights of the task's model; or an option is invalid.
    """
    if run.model.model_name_or_path is not None:
        model = _trained_model(run.model.model_name_or_path, run, recipe, prepared)
    else:
        model = _new_model(run, recipe, prepared)
    recipe.adapt(model, run)
    return model


def check_fine_tuning(run: RunConfig) -> None:
    """If `model_name_or_path` is given, check that the model options agree with the config of that trained model.

    The options in `FREE_IN_FINE_TUNING` may have other values than the config.

    Raises:
        InputError: no config loads from `model_name_or_path`; or the config lacks some of the options, or has other
            values for them, in which case the message names the options.
    """
    name = run.model.model_name_or_path
    if name is None:
        return
    check_folder(name)
    try:
        config = AutoConfig.from_pretrained(name)
    except (ImportError, KeyError, OSError, StrictDataclassError, ValueError) as error:
        raise InputError(sentence(f"No model loads from {name}: {reason_of(error)}")) from error
    if unknown := [option for option in run.model.overrides if not hasattr(config, option)]:
        raise InputError(
            f"{', '.join(unknown)} cannot be given for a {config.model_type} model such as {name}, whose config has no "
            "such options: leave these options out."
        )
    others = {option: getattr(config, option) for option in run.model.overrides if option not in FREE_IN_FINE_TUNING}
    others = {option: value for option, value in others.items() if value != run.model.overrides[option]}
    if others:
        raise InputError(
            f"{', '.join(others)} cannot be given with model_name_or_path, as the trained model has "
            f"{', '.join(f'{option} {value!r}' for option, value in others.items())}: leave these options out, or "
            f"unset them with {' '.join(f'--{option} null' for option in others)}; only "
            f"{', '.join(FREE_IN_FINE_TUNING)} may differ from the trained model."
        )


def _new_model(run: RunConfig, recipe: Recipe, prepared: PreparedData) -> PreTrainedModel:
    config = run.model.make_config(
        **TASKS[run.task].config_fields, **recipe.config_fields(prepared), **recipe.head_fields(prepared)
    )
    try:
        return recipe.auto_class.from_config(config, attn_implementation=run.model.first_attn_implementation)
    except (ImportError, KeyError, ValueError) as error:
        raise InputError(sentence(first_line(error))) from error


def _trained_model(name: str, run: RunConfig, recipe: Recipe, prepared: PreparedData) -> PreTrainedModel:
    changes = {option: value for option, value in run.model.overrides.items() if option in FREE_IN_FINE_TUNING}
    try:
        model, loaded = recipe.auto_class.from_pretrained(
            name,
            attn_implementation=run.model.first_attn_implementation,
            ignore_mismatched_sizes=True,  # the head of the trained model may predict other labels
            output_loading_info=True,
            dtype=torch.float32,  # the default is the dtype of the checkpoint, in which small updates may be lost
            **changes,
            **recipe.head_fields(prepared),
        )
    except StrictDataclassError as error:
        raise InputError(sentence(reason_of(error))) from error
    except (ImportError, KeyError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise InputError(sentence(f"No model loads from {name}: {reason_of(error)}")) from error
    _tell_of_new_weights(run, name, model, loaded)
    return model


def _tell_of_new_weights(run: RunConfig, name: str, model: PreTrainedModel, loaded: dict[str, Any]) -> None:
    """Print the names of newly initialised weights: the checkpoint lacks them, or has them in another shape.

    Raises:
        InputError: the newly initialised weights are more than half of the model's parameters, token embeddings not
            counted; for example, the checkpoint of a decoder was loaded as an encoder.
    """
    new = sorted({*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])})
    # token embeddings are not counted, as checkpoints of encoders and of decoders both have them
    sizes = {key: weight.numel() for key, weight in model.named_parameters() if "embed_tokens" not in key}
    if sum(sizes.get(key, 0) for key in new) > sum(sizes.values()) / 2:
        raise InputError(
            f"{name} does not contain most weights of a model for {run.task}, as it is a model of another kind: give a "
            "model that has the stacks of this task (encoder, decoder, or both)."
        )
    if new:
        print_in_main_process(
            f"New weights are initialised, as {name} lacks them or has them in another shape: {', '.join(new)}"
        )
