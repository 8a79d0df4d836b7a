# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Converts configs between Locant and other model families, and finds lost fields by converting the results back."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig
from transformers.utils import logging

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import ATTENTION_KINDS
from locant.utils.errors import reason_of, sentence

from ..errors import SharingError
from .families import Family

logger = logging.get_logger(__name__)

# Config fields that not every config class declares as its own: `_common` copies them from and to every config
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
_LABELS = ("id2label", "label2id", "problem_type")
_OF_PIPELINES = ("task_specific_params", "prefix")
_STACKS = {
    "LocantForConditionalGeneration": {"is_encoder_decoder": True, "is_decoder": False},
    "LocantModel": {"is_encoder_decoder": True, "is_decoder": False},
    "LocantForCausalLM": {"is_encoder_decoder": False, "is_decoder": True},
    "LocantDecoderModel": {"is_encoder_decoder": False, "is_decoder": True},
}
_ENCODER = {"is_encoder_decoder": False, "is_decoder": False}
_WITH_VOCABULARY = ("LocantForConditionalGeneration", "LocantForCausalLM", "LocantForMaskedLM")
_WITH_POOLER = ("LocantEncoderModel", "LocantForSequenceClassification", "LocantForImageClassification")
_TRAINING = ("dropout", "attention_dropout", "activation_dropout", "label_smoothing")


def locant_config(family: Family, theirs: PreTrainedConfig, names: Collection[str], architecture: str) -> LocantConfig:
    """Convert the config `theirs` of another family to a Locant config.

    Args:
        family: the family of `theirs`.
        theirs: the config of the other family's model.
        names: the names of the weights in the other family's model; empty while they are not known.
        architecture: the name of the Locant class that the config is for.

    Raises:
        SharingError: Locant cannot express a model with this config.
    """
    stacks = _STACKS.get(architecture, _ENCODER)
    try:
        return LocantConfig(**{**_common(family, theirs, LocantConfig), **family.to_locant(theirs, names), **stacks})
    except (StrictDataclassError, ValueError) as error:
        reason = f"This {family.name} model has no counterpart in Locant: {reason_of(error)}"
        raise SharingError(sentence(reason)) from error


def their_config(family: Family, ours: LocantConfig) -> PreTrainedConfig:
    """Convert the Locant config `ours` to a config of the family; fields that the family cannot express are lost.

    Raises:
        SharingError: the converted fields are not a valid config of the family.
    """
    try:
        target = config_class(family)
        return target(**{**_common(family, ours, target), **family.from_locant(ours)})
    except (StrictDataclassError, ValueError) as error:
        reason = f"This Locant model has no counterpart in {family.name}: {reason_of(error)}"
        raise SharingError(sentence(reason)) from error


def config_class(family: Family) -> Any:
    """Return the config class that transformers has for the family, such as `BertConfig`."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[family.model_type]


def check_theirs(family: Family, theirs: PreTrainedConfig, ours: LocantConfig) -> None:
    """Check that no field of `theirs` is lost in `ours`, the Locant config that `theirs` was converted to.

    `ours` is converted back, and the fields of the result are compared with the fields of `theirs`. The fields in
    `family.free`, `use_cache`, `tie_word_embeddings` and the fields of the base class `PreTrainedConfig` are not
    compared.

    Raises:
        SharingError: fields are lost (the message lists all of them), or `ours` cannot be converted back.
    """
    counted = _own_fields(type(theirs)) - family.free - {"use_cache", "tie_word_embeddings"}
    back = their_config(family, ours)
    lost = {
        name: (getattr(theirs, name), getattr(back, name))
        for name in sorted(counted)
        if getattr(theirs, name) != getattr(back, name)
    }
    if lost:
        raise SharingError(f"Locant cannot express these fields of the {family.name} config: {_listed(lost)}.")


def check_ours(
    family: Family, ours: LocantConfig, theirs: PreTrainedConfig, names: Collection[str], cls: str
) -> LocantConfig:
    """Check that no field of `ours` is lost in `theirs`, the config of another family that `ours` was converted to.

    `theirs` is converted back, and the fields that affect a Locant model of the class `cls` are compared with the
    fields of `ours`. The differences in `family.bridged` are allowed.

    Args:
        family: the family of `theirs`.
        ours: the Locant config.
        theirs: the config that `ours` was converted to.
        names: the names of the weights in the other family's model.
        cls: the name of the Locant model's class.

    Returns:
        The Locant config that results from converting `theirs` back.

    Raises:
        SharingError: fields are lost (the message lists all of them), or `theirs` cannot be converted back.
    """
    again = locant_config(family, theirs, names, cls)
    wanted, found = features(ours, cls), features(again, cls)
    lost = {
        name: (value, found.get(name))
        for name, value in wanted.items()
        if value != found.get(name) and (value, found.get(name)) != family.bridged.get(name)
    }
    if lost:
        raise SharingError(f"{family.name} cannot express these fields of the Locant config: {_listed(lost)}.")
    return again


def warn_of_training(family: Family, ours: LocantConfig, again: LocantConfig) -> None:
    """Log a warning if a field in `_TRAINING` changes in the conversion of `ours` to `family`.

    `again` is the Locant config that `ours` becomes after the conversion to `family` and back.
    """
    changed = {name: (getattr(ours, name), getattr(again, name)) for name in _TRAINING}
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    if changed:
        logger.warning(
            "%s cannot express these fields of the Locant config, which only training uses: %s.",
            family.name,
            _listed(changed),
        )


def features(config: LocantConfig, architecture: str) -> dict[str, Any]:
    """Return a dict of the config fields that determine what a model of the Locant class `architecture` computes.

    The token ids and the labels, which every conversion copies, are left out, and so are fields without effect in a
    model of this class and config. If a field is None because its default depends on other fields, the dict has the
    default in place of None, except for `head_dim` if the default differs between the stacks.
    """
    stacks = [place for place in config.attention_kinds if place != "cross"]
    reads_images = "encoder" in stacks and config.encoder_input == "patches"
    names = ["d_model", "activation_function", "gated_ffn", "norm_type", "norm_position", "norm_eps"]
    names += ["attention_bias", "ffn_bias", "embedding_norm"]
    if not reads_images or "decoder" in stacks:
        names += ["vocab_size", "scale_embedding"]
    if "encoder" in stacks:
        names += ["encoder_input", *(("image_size", "patch_size", "num_channels") if reads_images else ())]
        names += ["pooling" if reads_images else "type_vocab_size"]
    if architecture in _WITH_POOLER:
        names += ["pooling", "pooler_projection"]
    if architecture in _WITH_VOCABULARY:
        names += ["lm_head_bias", "tie_word_embeddings"]
    if config.is_encoder_decoder and not reads_images:
        names += ["share_encoder_decoder_embeddings"]
    for stack in stacks:
        names += [f"{stack}_layers", f"{stack}_attention_heads", f"{stack}_ffn_dim"]
    found = {name: getattr(config, name) for name in names}
    for stack in stacks:
        found |= _of_stack(config, stack)
    sizes = {config.head_dim_at(stack) for stack in stacks}
    found["head_dim"] = sizes.pop() if len(sizes) == 1 else None  # None means d_model / heads in each stack
    return found | _of_positions(config, reads_images)


def _of_stack(config: LocantConfig, stack: Any) -> dict[str, Any]:
    types = config.layer_types_of(stack)
    heads = getattr(config, f"{stack}_key_value_heads") or config.heads_at(stack)
    found = {f"{stack}_key_value_heads": heads, f"{stack}_layer_types": types}
    if "sliding_attention" in types:
        found["sliding_window"] = config.sliding_window
    return found


def _of_positions(config: LocantConfig, reads_images: bool) -> dict[str, Any]:
    fields_of = ("position_encoding", "decoder_position_encoding", "cross_position_encoding")
    places = dict(zip(ATTENTION_KINDS, fields_of, strict=True))
    found: dict[str, Any] = {places[place]: config.position_encoding_at(place) for place in config.attention_kinds}
    used = set(found.values())
    options = {name: config.position_options(name) for name in sorted(used)}
    found["position_parameters"] = {name: values for name, values in options.items() if values}
    if "rotary" in used:
        defaults = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
        found["rope_parameters"] = {**defaults, **(config.rope_parameters or {})}
    scales = found.get("rope_parameters", {}).get("rope_type", "default") != "default"
    if scales or ("learned" in used and not (reads_images and config.attention_kinds == ("encoder",))):
        found["max_position_embeddings"] = config.max_position_embeddings
    return found


def _own_fields(config_type: Any) -> set[str]:
    base = {entry.name for entry in fields(PreTrainedConfig)}
    return {entry.name for entry in fields(config_type)} - base


def _common(family: Family, config: PreTrainedConfig, target: type) -> dict[str, Any]:
    """Return the fields of `config` that a config of the class `target` has too, by their names in `target`.

    They are the fields of the same name, except `family.free`, and the fields in `family.fields`. Token ids, labels and
    options of pipelines are among them, although not every config class declares them.
    """
    same = (_own_fields(type(config)) & _own_fields(target)) - family.free
    found = {name: getattr(config, name) for name in same}
    for theirs, ours in family.fields.items():
        source, name = (theirs, ours) if target is LocantConfig else (ours, theirs)
        found[name] = getattr(config, source)
    found |= {name: getattr(config, name, None) for name in (*_TOKENS, *_LABELS)}
    found |= {name: getattr(config, name) for name in _OF_PIPELINES if getattr(config, name, None) is not None}
    # a model with one stack has no decoder_start_token_id, and not every family's config accepts None for this field
    if not config.is_encoder_decoder or found["decoder_start_token_id"] is None:
        del found["decoder_start_token_id"]
    return {**found, "use_cache": getattr(config, "use_cache", True)}


def _listed(pairs: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{name}={value!r} (it would become {other!r})" for name, (value, other) in pairs.items())
