# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Position encodings by name."""

from collections.abc import Callable
from typing import Any

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS, EncodingOptions, Place

from .alibi import AlibiEncoding
from .base import PositionEncoding, PositionLayer
from .learned import LearnedEncoding, LearnedGridEncoding
from .none import NoPosition
from .rotary import RotaryEncoding
from .shaw import ShawEncoding
from .sinusoidal import SinusoidalEncoding, SinusoidalGridEncoding
from .t5 import T5Encoding
from .transformer_xl import TransformerXLEncoding

_CLASSES: dict[str, type[PositionEncoding]] = {
    "none": NoPosition,
    "sinusoidal": SinusoidalEncoding,
    "learned": LearnedEncoding,
    "shaw": ShawEncoding,
    "transformer_xl": TransformerXLEncoding,
    "t5": T5Encoding,
    "alibi": AlibiEncoding,
    "rotary": RotaryEncoding,
}

# Those whose form for the rows and columns of patches is a class of its own
_CLASSES_ON_GRIDS: dict[str, type[PositionEncoding]] = {
    "sinusoidal": SinusoidalGridEncoding,
    "learned": LearnedGridEncoding,
}


def register_position_encoding(
    name: str,
    cls: type[PositionEncoding],
    options: dict[str, Any] | None = None,
    check: Callable[[dict[str, Any], int], None] | None = None,
    in_cross_attention: bool = True,
) -> None:
    """Make `cls` available as `position_encoding=name`.

    Args:
        name: the word of the config.
        cls: the encoding.
        options: its options with their defaults; `config.position_options(name)` reads them.
        check: called with the options and the size of a head; raises `ValueError` when they do not fit.
        in_cross_attention: whether it makes sense there; one that is added to the embeddings does not.

    Raises:
        ValueError: the name is taken.
    """
    if name in _CLASSES and _CLASSES[name] is not cls:
        raise ValueError(f"The position encoding {name!r} exists already: choose another name.")
    POSITION_ENCODINGS[name] = EncodingOptions(options or {}, check, in_cross_attention)
    _CLASSES[name] = cls


def position_layer(config: LocantConfig, place: Place) -> PositionLayer:
    """A layer of the encoding that `config` names for `place`, without weights: its flags tell what can serve it."""
    with torch.device("meta"):
        return _class_at(config, place).build_layer(config, place, 0)


def build_position_encoding(config: LocantConfig, place: Place) -> PositionEncoding:
    """The encoding that `config` names for `place`."""
    return _class_at(config, place)(config, place)


def _class_at(config: LocantConfig, place: Place) -> type[PositionEncoding]:
    name = config.position_encoding_at(place)
    on_grid = _CLASSES_ON_GRIDS.get(name) if config.axes_at(place) == 2 else None
    return on_grid or _CLASSES[name]
