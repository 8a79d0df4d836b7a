# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Checks that run when a saved model is loaded: its files are whole, and have every weight of the saved model."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import CONFIG_NAME, cached_file, logging

from locant import modeling
from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.pretrained import table_of_other_stack

from .checkpoint_files import WEIGHT_FILES, Checkpoint, CheckpointError, check_places, weights_file
from .model_sizes import body_class

logger = logging.get_logger(__name__)

_SETTINGS = [CONFIG_NAME, "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
_SETTINGS += ["special_tokens_map.json", "processor_config.json", "preprocessor_config.json"]


class MismatchedSizes(CheckpointError, RuntimeError):
    """A weight has another shape in the checkpoint than in the model.

    The class also derives from `RuntimeError`, which transformers raises in this case.
    """


def check_weights(model: PreTrainedModel, files: list[str], load_config: Any, info: Any) -> None:
    """Check the weights that were loaded into a model. `LocantPreTrainedModel.load_hooks` holds this function.

    A missing weight is an error if the saved model had this weight. It is not an error if the weight belongs to a head,
    stack or encoding that the saved model did not have, or if the checkpoint has no weight of the model at all:
    transformers then initialises the missing weights.

    Args:
        model: the model, whose missing weights are still on the meta device.
        files: the weights files of the checkpoint.
        load_config: transformers' `LoadStateDictConfig`. If the model is quantized, shapes, missing weights and weights
            that are stored as integers are not checked, because quantized weights have names and shapes of their own.
        info: transformers' `LoadStateDictInfo`.

    Raises:
        CheckpointError: a file is broken; a shard is outside of the folder; a weight is not of a floating-point type,
            holds NaN or infinity, or is missing.
        MismatchedSizes: a weight has another shape in the checkpoint than in the model, and `ignore_mismatched_sizes`
            is False.
    """
    check_places((load_config.sharded_metadata or {}).get("weight_map") or {})
    checkpoint, source = Checkpoint(*files), load_config.pretrained_model_name_or_path
    stored = {_bare(model, name): name for name in checkpoint.headers}
    if (other := table_of_other_stack(cast(LocantConfig, model.config))) is not None and f"{other}.weight" in stored:
        # a model with one stack uses the stored embeddings of the stack that it does not have: loading renames them
        stored.setdefault(f"{model.config.main_stack}.embed_tokens.weight", stored[f"{other}.weight"])
    mismatched = {name for name, *_ in info.mismatched_keys}
    for name, weight in model.named_parameters(remove_duplicate=False):
        own = stored.get(_bare(model, name), "")
        is_stored = own != "" and name not in mismatched
        if not is_stored or (load_config.is_quantized and not checkpoint.headers[own].is_floating_point()):
            continue
        if weight.is_meta or not weight.is_floating_point() or type(weight.data) is not torch.Tensor:
            # the loaded weight cannot be checked, as it is on the meta device (kept on disk) or quantized: check the
            # stored tensor
            checkpoint.read(own)
        else:
            checkpoint.checked(own, weight.data)
    if load_config.is_quantized:
        return
    for name, shape, expected in sorted(info.mismatched_keys) if not load_config.ignore_mismatched_sizes else ():
        raise MismatchedSizes(
            f"The tensor {name!r} of {source} has the shape {tuple(shape)}, but the config asks for "
            f"{tuple(expected)}: correct the config, or give ignore_mismatched_sizes=True to initialise such weights "
            "anew."
        )
    missing = set(info.missing_keys)
    for tied, twin in model.all_tied_weights_keys.items():
        if not {tied, twin} <= info.missing_keys:
            missing -= {tied, twin}
    # if all weights are missing, the checkpoint is of another kind of model, and transformers logs a warning
    if missing and not missing >= model.state_dict().keys():
        promised = _weights_of_saved(model, load_config)
        is_bare = _saved_config(model, load_config).architectures == ["LocantEncoderModel"]
        if is_bare and not any(name.startswith("pooler.") for name in stored):  # it was saved without a pooler
            promised = {name for name in promised if not name.startswith("pooler.")}
        for name in sorted(name for name in missing if _bare(model, name) in promised):
            fault = "the checkpoint is truncated, or the config belongs to another model"
            raise CheckpointError(f"The tensor {name!r} is missing in {source}: {fault}.")
    _warn_of_new_stacks(model, missing, load_config)


def fault_of_files(
    name: str | os.PathLike[str] | None, error: Exception, options: dict[str, Any]
) -> CheckpointError | None:
    """Check the files of a model that could not be loaded, and return an error that names a damaged file.

    `LocantPreTrainedModel.fault_hooks` holds this function.

    Args:
        name: a folder, or the name of a repository whose files are already in the cache.
        error: the exception that loading raised. For an `OSError`, the JSON files are not checked, because the message
            of transformers names the file already.
        options: the keyword arguments of `from_pretrained`.

    Returns:
        The error; None if no damaged file is found, if `error` is a `CheckpointError` (which names the damaged file
        already), if the weights are in a GGUF file, or if `name` is None.
    """
    if name is None or options.get("gguf_file") or isinstance(error, CheckpointError):
        return None
    folder = Path(name, options.get("subfolder") or "")
    hub = {key: options[key] for key in ("cache_dir", "revision", "subfolder", "token") if key in options}
    for known in (CONFIG_NAME, *WEIGHT_FILES):
        with suppress(OSError, ValueError):
            folder = Path(cast(str, cached_file(name, known, local_files_only=True, **hub))).parent
    file = weights_file(folder, options.get("variant"))
    try:
        if file is not None:
            Checkpoint(file)
        if not isinstance(error, OSError):
            check_settings(folder)
    except CheckpointError as fault:
        return fault
    return None


def check_settings(folder: Path) -> None:
    """Raise `CheckpointError` if a JSON file of the model, tokenizer or processor in `folder` holds no JSON object."""
    for file in (folder / name for name in _SETTINGS if (folder / name).is_file()):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{file} cannot be read as JSON: {str(error)[:160]}.") from error
        if not isinstance(settings, dict):
            raise CheckpointError(f"{file} must contain a JSON object, in braces.")


def _bare(model: PreTrainedModel, name: str) -> str:
    """Return the name that the weight `name` of `model` has in the model without a head."""
    return name.removeprefix(f"{model.base_model_prefix}.")


def _warn_of_new_stacks(model: PreTrainedModel, missing: set[str], load_config: Any) -> None:
    """Log a warning if all layers of a stack of `model` are new and random, and a model of another class was saved."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    new = [
        stack
        for stack in ("encoder", "decoder")
        if (own := {name for name in weights if _bare(model, name).startswith(f"{stack}.layers.")}) and own <= missing
    ]
    if not new:
        return
    [saved_class, *_] = _saved_config(model, load_config).architectures or [""]
    if saved_class not in ("", type(model).__name__):
        logger.warning(
            "%s holds a %s, which has no %s for this %s: of %d weights, %d are new and random. Load the folder as a "
            "%s, or train this model.",
            *(load_config.pretrained_model_name_or_path, saved_class, " and no ".join(new), type(model).__name__),
            *(len(weights), len(missing & weights.keys()), saved_class),
        )


def _saved_config(model: PreTrainedModel, load_config: Any) -> LocantConfig:
    """Load the config that was saved with the loaded weights; if it does not load, return the config of `model`."""
    config = cast(LocantConfig, model.config)
    with suppress(OSError, ValueError):
        path, hub = load_config.pretrained_model_name_or_path, load_config.download_kwargs or {}
        return type(config).from_dict(type(config).get_config_dict(path, **hub)[0])
    return config


def _weights_of_saved(model: PreTrainedModel, load_config: Any) -> set[str]:
    """Return the names of the weights that the saved model has according to its config.

    Of a group of tied weights, only one is included. Names are those in the model without a head: the prefix `model.`,
    which a model with a head adds, is removed.
    """
    saved = _saved_config(model, load_config)
    known = {name: getattr(modeling, name) for name in modeling.__all__} | {type(model).__name__: type(model)}
    with torch.device("meta"):
        whole = known.get((saved.architectures or [""])[0], body_class(saved))(saved)
    return {_bare(whole, name) for name in whole.state_dict().keys() - whole.all_tied_weights_keys.keys()}
