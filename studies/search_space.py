# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The hyperparameters of a search: their possible values, and the options of `locant train` that each of them sets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from locant.training.errors import InputError
from locant.training.options.options import Option, nearest_option

# Options that cannot be in `space`: the search sets or refuses them, all trials have the same value of them, or they do
# not change the trained model
_NOT_SEARCHED = ("task", "output_dir", "dry_run", "resume_from_checkpoint", "disable_tqdm", "metric_for_best_model")
_KEYS_OF_RANGE = ("low", "high", "log")


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: either a list of values, or a range of numbers from `low` to `high`.

    Args:
        name: the key under `space:` in the YAML file: the name of an option of `locant train`, or the names of several
            options that get the same value, joined by `=`, as in `a = b`.
        options: the names of the options that get the value.
        values: the listed values; empty for a range.
        low: the smallest number of the range.
        high: the largest number of the range.
        log: whether numbers of the range are drawn, and their effect is measured, on a logarithmic scale.
    """

    name: str
    options: tuple[str, ...]
    values: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @property
    def first(self) -> Any:
        """The first value of the list, or the lower end of the range."""
        return self.values[0] if self.values else self.low

    def suggest(self, trial: optuna.Trial) -> Any:
        """Return the value of this hyperparameter in `trial`; the sampler draws the value if the trial has none yet."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        if isinstance(self.low, int):
            return trial.suggest_int(self.name, self.low, int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def place(self, value: float) -> float:
        """Return the position of `value` in the range, from 0 at the lower end to 1 at the upper end.

        The position is measured on a logarithmic scale if `log` is True.
        """
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def read_space(written: Any, known: Mapping[str, Option], where: str) -> tuple[Hyperparameter, ...]:
    """Read the hyperparameters that the key `space` of the section `search:` lists.

    Args:
        written: the value of the key, from YAML.
        known: the options of the task, by name.
        where: the file and the line of the key, for messages.

    Raises:
        InputError: the value is not a mapping from options to values, or an option or a value cannot be used.
    """
    if not isinstance(written, dict) or not written:
        raise InputError(
            f"space is {written!r} ({where}), but must be a mapping from options of locant train to their values, such "
            "as d_model: [256, 512]."
        )
    space = tuple(_read_hyperparameter(name, values, known, where) for name, values in written.items())
    options = [option for hyperparameter in space for option in hyperparameter.options]
    for option in options:
        if options.count(option) > 1:
            raise InputError(f"space has {option} twice ({where}): leave one out.")
    return space


def _read_hyperparameter(name: str, written: Any, known: Mapping[str, Option], where: str) -> Hyperparameter:
    options = tuple(part.strip() for part in str(name).split("="))
    for option in options:
        if option not in known:
            nearest = nearest_option(option, dict(known))
            hint = f"did you mean {nearest}?" if nearest else "see locant train --help."
            raise InputError(f"{option!r} in space is not an option of locant train ({where}): {hint}")
        if option in _NOT_SEARCHED or known[option].takes_list or dict in known[option].kinds:
            raise InputError(f"{option} in space is an option that no search can vary ({where}): leave it out.")
    if isinstance(written, dict):
        return _read_range(name, options, written, known, where)
    if not isinstance(written, list) or not written:
        raise InputError(
            f"{name} in space is {written!r} ({where}), but must be a list of values, such as [a, b], or a range, such "
            "as {low: 0.0001, high: 0.01, log: true}."
        )
    values = tuple(_convert(value, options, known, where) for value in written)
    if len(set(values)) < len(values):
        raise InputError(f"{name} in space has a value twice in its list ({where}): leave one out.")
    return Hyperparameter(name, options, values)


def _read_range(
    name: str, options: tuple[str, ...], written: dict[str, Any], known: Mapping[str, Option], where: str
) -> Hyperparameter:
    if unknown := [key for key in written if key not in _KEYS_OF_RANGE]:
        raise InputError(
            f"{unknown[0]} is not a key of the range of {name} in space ({where}): the keys are "
            f"{', '.join(_KEYS_OF_RANGE)}."
        )
    low, high = (_convert(written.get(end), options, known, where) for end in ("low", "high"))
    log = written.get("log", False)
    are_numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not are_numbers or not isinstance(log, bool) or low >= high or (log and low <= 0):
        raise InputError(
            f"{name} in space is {written!r} ({where}), but a range must have numbers low < high, and log true or "
            "false, with low above 0 if log is true."
        )
    return Hyperparameter(name, options, low=low, high=high, log=log)


def _convert(value: Any, options: tuple[str, ...], known: Mapping[str, Option], where: str) -> Any:
    """Convert `value` to the type of `options`, the options of one hyperparameter, which must all have one type."""
    if value is None:
        raise InputError(f"{options[0]} in space has no value, or the value null ({where}): give a value.")
    converted = {known[option].convert(value, where) for option in options}
    if len(converted) > 1:
        raise InputError(f"{' and '.join(options)} in space do not have the same type ({where}): list them separately.")
    return converted.pop()
