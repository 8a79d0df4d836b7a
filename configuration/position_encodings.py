# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The names of the position encodings, their options, and what other libraries call them."""

import difflib
from typing import Any

# Name -> its options with their defaults. A class that implements an encoding registers itself under the
# same name in `locant.modeling.positions`.
POSITION_ENCODINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "sinusoidal": {"layout": "interleaved"},
    "learned": {},
    "rotary": {},
}

SINUSOIDAL_LAYOUTS = ("interleaved", "concatenated")

_NAMES_ELSEWHERE = {
    "rope": "rotary",
    "roformer": "rotary",
    "absolute": "learned",
    "learnable": "learned",
    "trained": "learned",
    "sine": "sinusoidal",
    "sin": "sinusoidal",
    "fixed": "sinusoidal",
    "nope": "none",
    "relative_key": "shaw",
    "relative_key_query": "shaw",
    "relative": "t5",
    "xl": "transformer_xl",
}


def check_position_encoding(option: str, name: str) -> None:
    """Raise `ValueError` when `name`, given for the config's `option`, is no known position encoding."""
    if name in POSITION_ENCODINGS:
        return
    known = ", ".join(POSITION_ENCODINGS)
    ours = _NAMES_ELSEWHERE.get(name.lower().replace("-", "_"))
    nearest = difflib.get_close_matches(name.lower(), POSITION_ENCODINGS, n=1)
    if ours in POSITION_ENCODINGS:
        hint = f': what you call {name!r} is "{ours}" here'
    elif ours is not None:
        hint = f': what you call {name!r} would be "{ours}", which this version does not have'
    else:
        hint = f': did you mean "{nearest[0]}"' if nearest else ""
    raise ValueError(f"{option}={name!r} is not a position encoding; known are {known}{hint}.")


def check_position_parameters(parameters: dict[str, dict[str, Any]]) -> None:
    """Raise `ValueError` when `parameters` (`{encoding: {option: value}}`) names what does not exist."""
    for name, options in parameters.items():
        check_position_encoding("position_parameters", name)
        if not isinstance(options, dict):
            raise ValueError(
                f"position_parameters[{name!r}] must be a dictionary of that encoding's options, got {options!r}."
            )
        for option in options:
            if option not in POSITION_ENCODINGS[name]:
                known = ", ".join(POSITION_ENCODINGS[name]) or "none"
                raise ValueError(
                    f"position_parameters[{name!r}] has no option {option!r}; the options of {name} are: {known}."
                )
    layout = parameters.get("sinusoidal", {}).get("layout", "interleaved")
    if layout not in SINUSOIDAL_LAYOUTS:
        raise ValueError(f"The sinusoidal layout must be one of {', '.join(SINUSOIDAL_LAYOUTS)}, got {layout!r}.")
