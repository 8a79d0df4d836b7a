# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What is checked when a saved model is loaded: that its files are whole, and hold what the model says it has."""

import json
import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import cached_file

from locant.configuration.configuration_locant import LocantConfig

from .checkpoint import WEIGHT_FILES, Checkpoint, CheckpointError, check_shards, weights_file
from .memory import check_memory

_SETTINGS = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
_SETTINGS += ["special_tokens_map.json", "processor_config.json", "preprocessor_config.json"]


class MismatchedSizes(CheckpointError, RuntimeError):
    """A weight of another shape than the model's; transformers' users expect a `RuntimeError`."""


def check_numbers(model: PreTrainedModel, files: list[str], load_config: Any) -> None:
    """Check the files, and read once the weights that `model` will take from them.

    Args:
        model: on the meta device or not; only its names and types count.
        files: of the checkpoint.
        load_config: transformers' `LoadStateDictConfig`; quantized weights may be stored as whole numbers.

    Raises:
        CheckpointError: a broken file; shards outside of the folder; a weight that is not of floating point, or with
            NaN or infinity.
    """
    check_shards((load_config.sharded_metadata or {}).get("weight_map") or {})
    checkpoint = Checkpoint(*files)
    wanted = {_without_prefix(model, name): value for name, value in model.state_dict().items()}
    for name in checkpoint.names:
        value = wanted.get(_without_prefix(model, name))
        if value is None or not value.is_floating_point():
            continue
        if not (load_config.is_quantized and not checkpoint.dtype(name).is_floating_point):
            checkpoint.read(name)


def check_fit(model: PreTrainedModel, info: Any, load_config: Any) -> None:
    """Check what the checkpoint had for the model, before memory is taken for what it did not have.

    Without these, a model is whole: of the class that was saved, every weight; of another class, the weights of the
    stacks that were saved. Heads, stacks and encodings that the saved model did not have start fresh, and so does all
    of a model of which there is nothing.

    Args:
        model: with the loaded weights; others are on the meta device still.
        info: transformers' `LoadStateDictInfo`.
        load_config: transformers' `LoadStateDictConfig`.

    Raises:
        CheckpointError: a weight is of another shape, or missing; fresh weights would not fit into memory.
    """
    source = load_config.pretrained_model_name_or_path
    if not load_config.ignore_mismatched_sizes:
        for name, stored, expected in sorted(info.mismatched_keys):
            raise MismatchedSizes(
                f"The tensor {name!r} of {source} has the shape {tuple(stored)}, but the config asks for "
                f"{tuple(expected)}: ignore_mismatched_sizes=True makes such weights anew."
            )
    missing = _missing(model, info.missing_keys)
    loads_some = not missing >= model.state_dict().keys()  # of another model, it is transformers' to warn
    for name in sorted(missing & _promised(model, load_config)) if missing and loads_some else ():
        raise CheckpointError(
            f"The tensor {name!r} is missing in {source}: the checkpoint is truncated, or the config another model's."
        )
    fresh = missing | {name for name, *_ in info.mismatched_keys}
    state = model.state_dict() if fresh else {}
    check_memory(sum(state[name].numel() for name in fresh & state.keys()), "What this checkpoint has no weights for")


def fault_of_files(
    name: str | os.PathLike[str] | None, error: Exception, options: dict[str, Any]
) -> CheckpointError | None:
    """What is wrong with the files of a model that could not be loaded, if it is that.

    Args:
        name: a folder, or the name of a repository, whose files are in the cache by now.
        error: what was raised; an `OSError` of transformers about its JSON files says enough.
        options: the keywords of `from_pretrained`.
    """
    if name is None or options.get("gguf_file"):
        return None
    folder, variant = Path(name, options.get("subfolder") or ""), options.get("variant")
    if not folder.is_dir():
        hub: dict[str, Any] = {
            key: options[key] for key in ("cache_dir", "revision", "subfolder", "token") if key in options
        }
        found = (_cached(str(name), file, hub) for file in ("config.json", *WEIGHT_FILES))
        folder = next((Path(file).parent for file in found if file), folder)
    file = weights_file(folder, variant)
    try:
        if file is not None:
            Checkpoint(file)
        if not isinstance(error, OSError):
            check_settings(folder)
    except CheckpointError as fault:
        return fault
    return None


def check_settings(folder: Path) -> None:
    """Raise `CheckpointError` for a file of a model, tokenizer or processor that holds no dictionary in JSON."""
    for file in (folder / name for name in _SETTINGS if (folder / name).is_file()):
        try:
            is_dictionary = isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{file} cannot be read as JSON: {str(error)[:160]}.") from error
        if not is_dictionary:
            raise CheckpointError(f"{file} must hold a dictionary in JSON, in braces.")


def _cached(name: str, file: str, hub: dict[str, Any]) -> str | None:
    try:
        return cached_file(name, file, local_files_only=True, **hub)
    except (OSError, ValueError):
        return None


def _without_prefix(model: PreTrainedModel, name: str) -> str:
    """A weight's name in the model without a head."""
    return name.removeprefix(f"{model.base_model_prefix}.")


def _missing(model: PreTrainedModel, names: set[str]) -> set[str]:
    """Those of `names` that are not tied to a weight that there is."""
    missing = set(names)
    for tied, source in getattr(model, "all_tied_weights_keys", {}).items():
        if not {tied, source} <= names:
            missing -= {tied, source}
    return missing


def _promised(model: PreTrainedModel, load_config: Any) -> set[str]:
    """The weights of `model` that the checkpoint must have, by the config that was saved with it."""
    saved = _saved_config(model, load_config) or cast(LocantConfig, model.config)
    with torch.device("meta"):
        whole: nn.Module = type(model)(saved)
    names = set(whole.state_dict()) - getattr(whole, "all_tied_weights_keys", {}).keys()  # which are stored once
    if type(model).__name__ in (saved.architectures or []):
        return names
    stacks = tuple(f"{place}." for place in saved.places if place != "cross")
    if saved.encoder_input != model.config.encoder_input:  # which may have been made a text encoder, or back
        stacks = tuple(stack for stack in stacks if stack != "encoder.")
    body = {name for name in names if _without_prefix(model, name).startswith(stacks)}
    reads_tokens = saved.is_encoder_decoder and saved.encoder_input == "tokens"
    if reads_tokens and saved.share_encoder_decoder_embeddings:  # one table, stored as the encoder's
        body = {name for name in body if not name.endswith("decoder.embed_tokens.weight")}
    return body if saved.is_encoder_decoder else {name for name in body if ".cross_" not in name}


def _saved_config(model: PreTrainedModel, load_config: Any) -> LocantConfig | None:
    try:
        path, hub = load_config.pretrained_model_name_or_path, load_config.download_kwargs or {}
        config_class = cast(type[LocantConfig], type(model.config))
        values, _ = config_class.get_config_dict(path, **hub)
        return config_class.from_dict(values)
    except (OSError, ValueError):
        return None
