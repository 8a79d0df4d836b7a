# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Another position encoding for a trained model, and a report of what that changed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .attention_backends import can_serve
from .positions.base import PositionEncoding, PositionLayer
from .positions.registry import position_layer


@dataclass(frozen=True)
class SwapReport:
    """What a swap did to the weights.

    Args:
        unexpected_keys: weights of the old model that the new one has no place for, with their shapes.
        missing_keys: weights of the new model that the old one did not have: they are fresh.
        attn_implementation: the backend before, and the one now, where they differ.
    """

    unexpected_keys: dict[str, tuple[int, ...]]
    missing_keys: dict[str, tuple[int, ...]]
    attn_implementation: tuple[str, str] | None = None

    def __str__(self) -> str:
        lines = [
            f"{what}: {', '.join(f'{name} {shape}' for name, shape in keys.items()) or 'none'}"
            for what, keys in (("dropped", self.unexpected_keys), ("new, untrained", self.missing_keys))
        ]
        if self.attn_implementation:
            lines.append("attn_implementation: {} cannot serve the encoding, now {}".format(*self.attn_implementation))
        return "Weights changed with the position encoding\n  " + "\n  ".join(lines)


def swapped_config(config: LocantConfig, places: tuple[Place, ...], **fields: Any) -> LocantConfig:
    """`config` with other `fields`, and its backend where that can serve them at `places`."""
    new = type(config).from_dict(config.to_dict(), **fields)
    if config._attn_implementation is not None and serves_encodings(config._attn_implementation, new, places):
        new._attn_implementation = config._attn_implementation
    return new


def serves_encodings(backend: str, config: LocantConfig, places: tuple[Place, ...]) -> bool:
    """Whether `backend` can add the terms of the encodings of `config` at `places`."""
    return all(can_serve(backend, position_layer(config, place), place) for place in places)


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> SwapReport:
    """Copy the weights that both models have, those of an encoding only into one of the same class and shape."""
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
