# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Copies a model, gives the copy another position encoding, and reports which weights were dropped or are new."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from .attention_backends import can_serve
from .positions.base import PositionEncoding, PositionLayer


@dataclass(frozen=True)
class SwapReport:
    """The weights and the backend that changed with the position encoding of a model.

    Args:
        unexpected_keys: the names of weights of the old model that were not copied, with their shapes.
        missing_keys: the names of weights of the new model that are newly initialised, with their shapes.
        attn_implementation: the backends of the old and of the new model if they differ, else None.
    """

    unexpected_keys: dict[str, tuple[int, ...]]
    missing_keys: dict[str, tuple[int, ...]]
    attn_implementation: tuple[str, str] | None = None

    def __str__(self) -> str:
        lines = [
            f"{what}: {', '.join(f'{name} {shape}' for name, shape in keys.items()) or 'none'}"
            for what, keys in (("dropped weights", self.unexpected_keys), ("new, untrained weights", self.missing_keys))
        ]
        if self.attn_implementation:
            lines.append(
                "attn_implementation: {} does not support the new encoding and is replaced by {}".format(
                    *self.attn_implementation
                )
            )
        return "The new position encoding changes the model:\n  " + "\n  ".join(lines)


# The fields that may change together with `position_encoding`. A field that is given as None keeps its value;
# exception: `decoder_position_encoding=None` gives the decoder the same encoding as `position_encoding`
_FIELDS = {
    "decoder_position_encoding",
    "cross_position_encoding",
    "position_parameters",
    "rope_parameters",
    "max_position_embeddings",
}


def swap_position_encoding(model: Any, position_encoding: str, **fields: Any) -> tuple[Any, SwapReport]:
    """Return a copy of `model` with another position encoding, and a report of the weights that differ.

    The arguments are those of `LocantPreTrainedModel.with_position_encoding`, without `output_loading_info`.

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
    report = replace(report, attn_implementation=(before, after) if before != after else None)
    if model.can_generate():
        new.generation_config = copy.deepcopy(model.generation_config)
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        new.gradient_checkpointing_enable()
    return new, report


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> SwapReport:
    """Copy the weights that have the same name and shape in both models, and report all other weights.

    The weights of a position encoding are copied only if its class is the same in both models.
    """
    old, new = source.state_dict(keep_vars=True), target.state_dict(keep_vars=True)
    foreign = [
        f"{name}."
        for name, module in target.named_modules()
        if isinstance(module, PositionEncoding | PositionLayer) and _differs(source, name, module)
    ]
    common = {
        name
        for name in old.keys() & new.keys()
        if old[name].shape == new[name].shape and not name.startswith(tuple(foreign))
    }
    for name in common:
        new[name].data = old[name].detach().clone()
        new[name].requires_grad_(old[name].requires_grad)
    tie = getattr(target, "tie_weights", None)
    if tie is not None:
        tie()
    return SwapReport(
        {name: tuple(weight.shape) for name, weight in old.items() if name not in common},
        {name: tuple(weight.shape) for name, weight in new.items() if name not in common},
    )


def _differs(source: nn.Module, name: str, module: nn.Module) -> bool:
    try:
        return type(source.get_submodule(name)) is not type(module)
    except AttributeError:
        return True
