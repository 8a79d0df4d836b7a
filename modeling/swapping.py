# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Copies a model, gives the copy another position encoding, and reports which weights were dropped or are new."""

import copy
from typing import Any

import torch
from transformers.modeling_utils import PreTrainedModel

from .attention_backends import can_serve
from .positions.base import PositionEncoding, PositionLayer

# The fields that may change together with `position_encoding`. A field that is given as None keeps its value;
# exception: `decoder_position_encoding=None` gives the decoder the same encoding as `position_encoding`
_FIELDS = {
    "decoder_position_encoding",
    "cross_position_encoding",
    "position_parameters",
    "rope_parameters",
    "max_position_embeddings",
}


def swap_position_encoding(model: Any, position_encoding: str, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """Return a copy of `model` with another position encoding, and a report of the weights that differ.

    The arguments are those of `LocantPreTrainedModel.with_position_encoding`, without `output_loading_info`. The report
    is the dictionary that `with_position_encoding` returns with `output_loading_info=True`.

    Raises:
        TypeError: `fields` contains a name that is not in `_FIELDS`.
        StrictDataclassError: as in `LocantPreTrainedModel.with_position_encoding`.
    """
    if unknown := fields.keys() - _FIELDS:
        raise TypeError(
            f"with_position_encoding does not change the field {sorted(unknown)[0]}: give one of "
            f"{', '.join(sorted(_FIELDS))}."
        )
    fields = {name: value for name, value in fields.items() if value is not None}
    before = model.config._attn_implementation
    config = type(model.config).from_dict(model.config.to_dict(), position_encoding=position_encoding, **fields)
    if before is not None and all(can_serve(before, config, kind) for kind in model.attention_kinds):
        config._attn_implementation = before
    new = model.new_like(config).train(model.training).to(device=model.device, dtype=model.dtype)
    report = copy_weights(model, new)
    after = config._attn_implementation
    report["attn_implementation"] = (before, after) if before != after else None
    if model.can_generate():
        new.generation_config = copy.deepcopy(model.generation_config)
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        new.gradient_checkpointing_enable()
    return new, report


@torch.no_grad()
def copy_weights(source: PreTrainedModel, target: PreTrainedModel) -> dict[str, Any]:
    """Copy the weights that have the same name and shape in both models, and report all other weights.

    The weights of a position encoding are copied only if its class is the same in both models.

    Returns:
        A dictionary with `unexpected_keys`, the names of weights of `source` that were not copied, and `missing_keys`,
        the names of weights of `target` that are newly initialised, both with their shapes.
    """
    old, new = source.state_dict(keep_vars=True), target.state_dict(keep_vars=True)
    modules = dict(source.named_modules(remove_duplicate=False))
    foreign = [
        f"{name}."
        for name, module in target.named_modules()
        if isinstance(module, PositionEncoding | PositionLayer) and type(modules.get(name)) is not type(module)
    ]
    common = {
        name
        for name in old.keys() & new.keys()
        if old[name].shape == new[name].shape and not name.startswith(tuple(foreign))
    }
    for name in common:
        new[name].data = old[name].detach().clone()
        new[name].requires_grad_(old[name].requires_grad)
    target.tie_weights()
    return {
        "unexpected_keys": {name: tuple(weight.shape) for name, weight in old.items() if name not in common},
        "missing_keys": {name: tuple(weight.shape) for name, weight in new.items() if name not in common},
    }


def describe_swap(report: dict[str, Any]) -> str:
    """Return the text of the warning that lists the changes of a model by a new position encoding.

    Args:
        report: the report of `swap_position_encoding`.
    """
    lines = [
        f"{what}: {', '.join(f'{name} {shape}' for name, shape in report[keys].items()) or 'none'}"
        for what, keys in (("dropped weights", "unexpected_keys"), ("new, untrained weights", "missing_keys"))
    ]
    if report["attn_implementation"]:
        lines.append(
            "attn_implementation: {} does not support the new encoding and is replaced by {}".format(
                *report["attn_implementation"]
            )
        )
    return "The new position encoding changes the model:\n  " + "\n  ".join(lines)
