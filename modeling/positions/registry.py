# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Position encodings by name."""

from typing import Any

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS

from .base import PositionEncoding, Stack
from .learned import LearnedEncoding
from .none import NoPosition
from .rotary import RotaryEncoding
from .sinusoidal import SinusoidalEncoding

_CLASSES: dict[str, type[PositionEncoding]] = {
    "none": NoPosition,
    "sinusoidal": SinusoidalEncoding,
    "learned": LearnedEncoding,
    "rotary": RotaryEncoding,
}


def register_position_encoding(name: str, cls: type[PositionEncoding], **options: Any) -> None:
    """Make `cls` available as `position_encoding=name`, with the defaults of its `options`.

    Raises:
        ValueError: the name is taken.
    """
    if name in _CLASSES and _CLASSES[name] is not cls:
        raise ValueError(f"The position encoding {name!r} exists already: choose another name.")
    POSITION_ENCODINGS[name] = options
    _CLASSES[name] = cls


def build_position_encoding(config: LocantConfig, stack: Stack) -> PositionEncoding:
    """The encoding that `config` names for the self-attention of `stack`."""
    return _CLASSES[config.position_encoding_of(stack)](config, stack)
