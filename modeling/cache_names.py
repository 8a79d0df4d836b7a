# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The two names of the cache: `past_key_values` in transformers below 5.24, and `cache` from 5.24 on.

The name differs in the outputs of models, in the arguments of `forward` that `generate()` passes, and in the argument
of a layer that gradient checkpointing removes. Locant's methods name the argument `past_key_values`, except
`prepare_inputs_for_generation`, in whose signature `generate()` looks for `cache`. As `forward` ignores arguments that
it does not know, it would ignore a cache that is passed as `cache`; the decorator of this file passes such a cache on
under the right name.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from transformers.modeling_outputs import BaseModelOutputWithPast

CACHE = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"
"""The name of the cache in the installed version of transformers."""

_NAMES = ("cache", "past_key_values")
_Method = TypeVar("_Method", bound=Callable[..., Any])


def takes_cache_as(name: str) -> Callable[[_Method], _Method]:
    """Make a decorator of methods that passes the keyword arguments `cache` and `past_key_values` on as `name`.

    The decorated method raises `ValueError` if a cache is given under each name.
    """

    def decorate(method: _Method) -> _Method:
        @wraps(method)
        def renamed(self: Any, *args: Any, **kwargs: Any) -> Any:
            caches = [kwargs.pop(known, None) for known in _NAMES]
            given = [cache for cache in caches if cache is not None]
            if len(given) > 1:
                raise ValueError(
                    "cache and past_key_values are both given, but they are two names of one argument: leave one out."
                )
            if given:
                kwargs[name] = given[0]
            return method(self, *args, **kwargs)

        # `unwrap_model(keep_fp32_wrapper=False)` of accelerate removes every decorator with the attribute `__wrapped__`
        del renamed.__wrapped__
        renamed.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
        return cast(_Method, renamed)

    return decorate
