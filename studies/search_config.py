# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The configuration of a hyperparameter search: a YAML file for `locant train` with one more section, `search:`."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from locant.training.errors import InputError
from locant.training.options.options import find_task, known_options
from locant.training.options.run_config import RunConfig, make_run_config, read_given
from locant.training.options.yaml_sections import Entry, read_sections

from .search_space import Hyperparameter, read_space

SECTION = "search"
SAMPLERS = ("grid", "random", "tpe")
KEYS = ("space", "sampler", "trials", "cells", "repeat_cell", "repeat_seeds", "metric", "pruning", "seed", "workers")
# options that a search refuses, with the advice in the message of the error
_OF_ONE_RUN = {
    "push_to_hub": "leave it out, and push the folder of a trial with locant push",
    "resume_from_checkpoint": "leave it out; the same command resumes each trial from its last checkpoint",
}
_MAY_CHANGE = ("output_dir", "dry_run", "disable_tqdm", "trials", "workers")


@dataclass(frozen=True)
class PlannedTrial:
    """One trial that the search is going to run.

    Args:
        values: the value of each hyperparameter, by its name; empty if the sampler draws the values.
        seed: the seed of a trial that repeats a cell (a combination of values) with another seed than the other trials;
            None for the other trials.
    """

    values: dict[str, Any]
    seed: int | None = None


@dataclass(frozen=True)
class Search:
    """The settings of a hyperparameter search.

    Args:
        folder: the folder of the search.
        given: the options of `locant train` that are the same in all trials.
        space: the hyperparameters.
        planned: the trials; the trial of number N is at index N.
        sampler: `random` or `tpe`, which draws the values of each trial that has no values in `planned`; or `grid`, if
            every trial has values in `planned`.
        seed: the seed of the sampler.
        metric: the metric on the validation data by which trials are ranked.
        higher_is_better: whether a higher value of the metric is better.
        pruning: whether, once five trials are complete, a trial is stopped if its best score is worse than the median
            score of the complete trials at the same evaluation.
        workers: the number of trials that run at a time.
    """

    folder: Path
    given: dict[str, Any]
    space: tuple[Hyperparameter, ...]
    planned: tuple[PlannedTrial, ...]
    sampler: str
    seed: int
    metric: str
    higher_is_better: bool
    pruning: bool
    workers: int

    @property
    def label(self) -> str:
        """The name of the metric in reports."""
        return {"bleu": "BLEU"}.get(self.metric, self.metric.replace("_", " "))

    def config_of(self, values: dict[str, Any], seed: int | None, folder: Path) -> RunConfig:
        """Return the configuration of the run of a trial with the given hyperparameters, seed and folder.

        Raises:
            InputError: a value is out of range, or contradicts another value.
        """
        own = {option: values[h.name] for h in self.space for option in h.options}
        own |= {} if seed is None else {"seed": seed}
        return make_run_config(self.given | own | {"output_dir": str(folder)})

    def first_config(self, folder: Path) -> RunConfig:
        """Return the configuration of the first trial, with the seed of the trials that do not repeat a cell.

        If a sampler draws the values of the first trial, the configuration has the first value of each hyperparameter.
        """
        values = self.planned[0].values or {h.name: h.first for h in self.space}
        return self.config_of(values, None, folder)


def parse_search(arguments: list[str], workers: int | None = None) -> Search:
    """Parse the command line of `locant search`, and check every value.

    Args:
        arguments: the arguments after `locant search`: the path of the YAML file, and options of `locant train`.
        workers: the number of trials that run at a time; None for the number in the file.

    Raises:
        InputError: no YAML file is given, or a key of the section `search:` or an option cannot be used.
    """
    path, given = read_given(arguments, beside=SECTION)
    if path is None:
        raise InputError(f"No SEARCH.yaml is given: give a file for locant train with a section {SECTION}:.")
    section = _Section(path, [entry for entry in read_sections(path) if entry.section == SECTION])
    known = known_options(find_task(given))
    space = read_space(section.values.get("space"), known, section.where("space"))
    for option in (option for hyperparameter in space for option in hyperparameter.options):
        if given.get(option) is not None:
            raise InputError(
                f"{option} is given as {given[option]!r}, but the search has values for it ({section.where('space')}): "
                "leave one of the two out."
            )
    for option, hint in _OF_ONE_RUN.items():
        if given.get(option):
            raise InputError(f"{option} cannot be given for a search, because it would apply to each trial: {hint}.")
    sampler = section.choice("sampler", SAMPLERS)
    planned = _plan(section, space, sampler)
    folder = Path(given.pop("output_dir", None) or known["output_dir"].default)
    search = Search(
        folder=folder,
        given=given,
        space=space,
        planned=tuple(planned),
        sampler=sampler,
        seed=section.whole("seed", default=0, least=0),
        metric="",
        higher_is_better=True,
        pruning=section.choice("pruning", (False, True)),
        workers=workers or section.whole("workers", default=1),
    )
    return _with_metric(search, section)


class _Section:
    """Holds the keys of the section `search:`, and checks and returns their values.

    A method that returns the value of a key raises `InputError`, with file and line, if the value is invalid.
    """

    def __init__(self, path: str, entries: Iterable[Entry]):
        self.path = path
        self.values: dict[str, Any] = {}
        self._lines: dict[str, int] = {}
        for entry in entries:
            if entry.key is None:
                continue
            if entry.key not in KEYS:
                raise InputError(
                    f"{entry.key} is not a key of {SECTION}: ({path}, line {entry.line}): the keys are "
                    f"{', '.join(KEYS)}."
                )
            self.values[entry.key], self._lines[entry.key] = entry.value, entry.line

    def where(self, key: str) -> str:
        """Return the path of the YAML file, and the line of the key `key` if the section has this key."""
        return f"{self.path}, line {self._lines[key]}" if key in self._lines else self.path

    def choice(self, key: str, choices: tuple[Any, ...]) -> Any:
        """Return the value of the key `key`, or `choices[0]` without this key; the value must be one of `choices`."""
        value = self.values.get(key, choices[0])
        if value not in choices:
            listed = ", ".join(str(choice).lower() for choice in choices)
            raise InputError(f"{key} is {value!r} ({self.where(key)}), but must be one of {listed}.")
        return value

    def whole(self, key: str, default: int | None, least: int = 1) -> int:
        """Return the value of the key `key`, or `default` without this key.

        The value must be a whole number of at least `least`; so if `default` is None, the section must have the key.
        """
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{key} is {value!r} ({self.where(key)}), but must be a whole number, at least {least}.")
        return value

    def rows(self, key: str, space: tuple[Hyperparameter, ...]) -> list[dict[str, Any]]:
        """Return the cells that the value of the key `key` lists, each as a dict from hyperparameter to value.

        In the YAML file, a cell is a list with a value of each hyperparameter, in the order of `space`.
        """
        return [self.cell(key, row, space) for row in self._list(key)]

    def seeds(self, key: str) -> list[int]:
        """Return the value of the key `key`, which must be a list of different seeds."""
        seeds = self._list(key)
        for seed in seeds:
            if not isinstance(seed, int) or isinstance(seed, bool):
                raise InputError(f"{key} has {seed!r} ({self.where(key)}), but a seed must be a whole number.")
            if seeds.count(seed) > 1:
                raise InputError(f"{key} has {seed} twice ({self.where(key)}): leave one out.")
        return seeds

    def _list(self, key: str) -> list[Any]:
        value = self.values[key]
        if not isinstance(value, list) or not value:
            raise InputError(f"{key} is {value!r} ({self.where(key)}), but must be a list with one or more entries.")
        return value

    def cell(self, key: str, row: Any, space: tuple[Hyperparameter, ...]) -> dict[str, Any]:
        """Convert the cell `row`, a list in the YAML key `key`, to a dict from the names of hyperparameters to values.

        Raises:
            InputError: `row` is not a list with a value of `space` for each hyperparameter.
        """
        names = ", ".join(hyperparameter.name for hyperparameter in space)
        if not isinstance(row, list) or len(row) != len(space):
            raise InputError(
                f"{key} has {row!r} ({self.where(key)}), but a cell must be a list of {len(space)} values, in the "
                f"order of space: {names}."
            )
        for hyperparameter, value in zip(space, row, strict=True):
            if value not in hyperparameter.values:
                name, listed = hyperparameter.name, ", ".join(map(str, hyperparameter.values))
                advice = f"choose one of {listed}" if listed else f"replace the range of {name} by a list of values"
                raise InputError(
                    f"{key} has {value!r} for {name} ({self.where(key)}), but the key space does not list this value: "
                    f"{advice}."
                )
        return {hyperparameter.name: value for hyperparameter, value in zip(space, row, strict=True)}


def _plan(section: _Section, space: tuple[Hyperparameter, ...], sampler: str) -> list[PlannedTrial]:
    """Return the trials in the order in which they start.

    The trials that train one cell again with other seeds come first, so that it is known early how much the score
    varies with the seed. With `random` or `tpe`, the value of the key `trials` may be raised when a search is resumed:
    the additional trials then come after all earlier trials.
    """
    repeats = _repeats(section, space)
    if sampler != "grid":
        if "cells" in section.values:
            raise InputError(
                f"cells and sampler: {sampler} are both given ({section.where('cells')}), but cells lists the "
                "values of all trials: leave one of the two out."
            )
        return repeats + [PlannedTrial({})] * section.whole("trials", default=None)
    if "trials" in section.values:
        raise InputError(
            f"trials is given ({section.where('trials')}), but the number of trials of a grid follows from its "
            "cells and from repeat_seeds: leave trials out, or set sampler to random or tpe."
        )
    if "cells" in section.values:
        cells = section.rows("cells", space)
        if doubled := next((cell for cell in cells if cells.count(cell) > 1), None):
            raise InputError(f"cells has {list(doubled.values())} twice ({section.where('cells')}): leave one out.")
    else:
        if ranged := next((h.name for h in space if not h.values), None):
            raise InputError(
                f"{ranged} in space is a range ({section.where('space')}), and a grid cannot try every number of a "
                "range: give a list of values, or set sampler to random or tpe."
            )
        names = [hyperparameter.name for hyperparameter in space]
        cells = [dict(zip(names, row, strict=True)) for row in product(*(h.values for h in space))]
    return repeats + [PlannedTrial(cell) for cell in cells]


def _repeats(section: _Section, space: tuple[Hyperparameter, ...]) -> list[PlannedTrial]:
    """Return the trials that train one cell again with other seeds, to measure how the score varies with the seed."""
    keys = ("repeat_cell", "repeat_seeds")
    given = [key for key in keys if key in section.values]
    if not given:
        return []
    if len(given) == 1:
        missing = next(key for key in keys if key not in given)
        raise InputError(f"{given[0]} is given ({section.where(given[0])}) without {missing}: give both, or neither.")
    if any("seed" in hyperparameter.options for hyperparameter in space):
        raise InputError(f"repeat_seeds is given, but seed is in space ({section.where('space')}): leave one out.")
    cell = section.cell("repeat_cell", section.values["repeat_cell"], space)
    return [PlannedTrial(cell, seed) for seed in section.seeds("repeat_seeds")]


def _with_metric(search: Search, section: _Section) -> Search:
    """Return `search` with the fields `metric` and `higher_is_better` filled in.

    The metric is the value of the key `metric`, by default the option `metric_for_best_model` of the runs. Raises
    `InputError` if the runs have no such metric, or if `repeat_seeds` has the seed of the other trials.
    """
    training = search.first_config(search.folder).training
    metric = section.values.get("metric", training.metric_for_best_model)
    if not isinstance(metric, str) or metric not in training.measures:
        raise InputError(
            f"metric is {metric!r} ({section.where('metric')}), but the metrics of a trial are "
            f"{', '.join(training.measures)}: choose one of them."
        )
    if training.seed in [planned.seed for planned in search.planned]:
        raise InputError(
            f"repeat_seeds has {training.seed} ({section.where('repeat_seeds')}), which is the seed of all other "
            f"trials: give seeds other than {training.seed}."
        )
    is_higher_better = training.measures[metric]
    if metric == training.metric_for_best_model:
        is_higher_better = bool(training.greater_is_better)
    return Search(**{**vars(search), "metric": metric, "higher_is_better": is_higher_better})


def identity(search: Search) -> dict[str, Any]:
    """Return the options, without access tokens, and the keys of `search:` that must not change in a resumed search."""
    fixed = {n: value for n, value in search.given.items() if n not in _MAY_CHANGE and not n.endswith("_token")}
    cells = [[*p.values.values(), p.seed] for p in search.planned if p.values]
    keys = {"sampler": search.sampler, "seed": search.seed, "metric": search.metric, "pruning": search.pruning}
    return {
        **fixed,
        **{f"{SECTION}.{name}": value for name, value in keys.items()},
        f"{SECTION}.cells": cells,
        **{f"{SECTION}.space.{h.name}": list(h.values) or [h.low, h.high, h.log] for h in search.space},
    }
