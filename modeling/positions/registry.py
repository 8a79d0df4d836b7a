# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Position encodings by name."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS, EncodingOptions, Place

from .base import PositionEncoding, PositionLayer

_CLASSES: dict[str, type[PositionEncoding]] = {}
# Those whose form for the rows and columns of patches is a class of its own
_CLASSES_ON_GRIDS: dict[str, type[PositionEncoding]] = {}

_Encoding = TypeVar("_Encoding", bound=type[PositionEncoding])


def built_in(name: str, on_grid: bool = False) -> Callable[[_Encoding], _Encoding]:
    """Enter a class as the encoding `name`, whose options the configuration knows, or as its form on a grid."""

    def enter(cls: _Encoding) -> _Encoding:
        (_CLASSES_ON_GRIDS if on_grid else _CLASSES)[name] = cls
        return cls

    return enter


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


def class_of_encoding(name: str, on_grid: bool = False) -> type[PositionEncoding]:
    """The class of the encoding `name`, or of its form for patches.

    Raises:
        ValueError: it is not here: a saved model brings the code of its own encodings only.
    """
    if name not in _CLASSES:
        raise ValueError(
            f"The position encoding {name!r} is not in this copy of the code, which has {', '.join(sorted(_CLASSES))}: "
            "install locant, and import it and the encoding's own file if it has one."
        )
    return _CLASSES_ON_GRIDS.get(name, _CLASSES[name]) if on_grid else _CLASSES[name]


def _class_at(config: LocantConfig, place: Place) -> type[PositionEncoding]:
    return class_of_encoding(config.position_encoding_at(place), on_grid=config.axes_at(place) == 2)
