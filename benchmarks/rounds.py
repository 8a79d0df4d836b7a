# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Runs the sides of a line of work in turns.

The sides run in worker processes. A worker sets the number of its threads and the source tree of Locant before it
imports Locant.
"""

import gc
import itertools
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from bounds import bound_of
from lines import Build, Line, Setting

_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = [
    *("rounds", "transformers.trainer_seq2seq", "transformers.models.marian.modeling_marian", "datasets", "sklearn"),
]
_CONTEXT.set_forkserver_preload(_PRELOADED)  # without Locant: a worker may import it from another source tree

_TURN_SECONDS, _MOST_REPEATS = 2.0, 3  # a side that takes less than half of these seconds runs twice or more in a turn


def preload(*modules: str) -> None:
    """Import these modules once for all workers, if no worker has been started yet."""
    _CONTEXT.set_forkserver_preload([*_PRELOADED, *modules])


class WorkerError(RuntimeError):
    """A worker could not build or run a side; the message is its traceback."""


class Worker:
    """A process that holds some sides of a line, and runs a repetition of a side on request.

    Args:
        sides: builders by name.
        setting: device, threads and precision.
        tree: folder to import Locant from; by default the installed package.

    Raises:
        WorkerError: a side cannot be built.
    """

    def __init__(self, sides: dict[str, Build], setting: Setting, tree: Path | None = None):
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, sides, setting, tree), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def run(self, side: str, number: int, repeats: int = 1) -> float:
        """Run repetition `number` of a side `repeats` times, and return the least cost."""
        self._connection.send(("run", side, (number, repeats)))
        return self._answer()

    def bound(self, side: str) -> dict[str, float]:
        """The bound of the side's work, as `bound_of` returns it."""
        self._connection.send(("bound", side, (0, 1)))
        return self._answer()

    def close(self) -> None:
        """End the process."""
        if self._process.is_alive():
            self._connection.send(None)
        self._process.join()

    def _answer(self) -> Any:
        try:
            kind, value = self._connection.recv()
        except EOFError:
            raise WorkerError("The process of a line of work ended without an answer.") from None
        if kind == "error":
            raise WorkerError(value)
        return value


def _serve(connection: Connection, sides: dict[str, Build], setting: Setting, tree: Path | None) -> None:
    """The worker's process: build the sides, then answer until the request is None."""
    try:
        _settle(setting, tree)
        repetitions = {name: build(setting) for name, build in sides.items()}
        gc.freeze()  # a collection then takes microseconds instead of a quarter of a second
        connection.send(("ready", None))
        for request, side, (number, repeats) in iter(connection.recv, None):
            if request == "bound":
                gc.unfreeze()  # the parameters are found among the objects that the collector tracks
                connection.send(("bound", bound_of(repetitions[side], setting.device)))
                continue
            costs = []
            for _ in range(repeats):
                gc.collect()
                costs.append(repetitions[side](number).value)
            connection.send(("cost", min(costs)))
    except Exception:
        connection.send(("error", traceback.format_exc()))


def _settle(setting: Setting, tree: Path | None) -> None:
    """Pin the threads to cores, silence the libraries, and put the source tree before the installed package."""
    if setting.device == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: setting.threads])
    os.environ["OMP_NUM_THREADS"] = str(setting.threads)
    torch.set_num_threads(setting.threads)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    if tree is not None:
        sys.path.insert(0, str(tree))
        import locant

        if not Path(locant.__file__).is_relative_to(tree):
            raise ImportError(f"Locant was imported from {locant.__file__}, not from {tree}.")


@contextmanager
def _workers(
    line: Line, setting: Setting, trees: dict[str, Path], only: str | None = None
) -> Iterator[dict[str, Worker]]:
    """The worker of each side: one worker for all sides, or one worker for each source tree if trees are the sides.

    With `only`, there is one worker, which holds that side alone.
    """
    with ExitStack() as stack:

        def start(sides: dict[str, Build], tree: Path | None = None) -> Worker:
            worker = Worker(sides, setting, tree)
            stack.callback(worker.close)
            return worker

        if trees:
            build = next(iter(line.locant.values()))
            yield {name: start({name: build}, tree) for name, tree in trees.items() if only in (None, name)}
        else:
            sides = {name: build for name, build in line.sides.items() if only in (None, name)}
            yield dict.fromkeys(sides, start(sides))


def measure(
    line: Line,
    setting: Setting,
    numbers: Sequence[int],
    trees: dict[str, Path] | None = None,
    with_bound: bool = False,
) -> dict[str, Any]:
    """The costs of each side in each round, and the bound.

    Args:
        line: the line to measure.
        setting: device, threads and precision.
        numbers: numbers of the rounds. Each process runs a round before them, which does not count. In each round,
            sides that take less than a second repeat their work, and the least cost counts.
        trees: source trees by name. If given, they are the sides, and all of them run the first of Locant's ways.
        with_bound: whether to measure the bound, if the line has one.

    Returns:
        `costs`, lists by side, and `bound`, as `bound_of` returns it, or None.

    Raises:
        WorkerError: a side fails.
    """
    trees = trees or {}
    names = list(trees or line.sides)
    costs: dict[str, list[float]] = {name: [] for name in names}
    if line.fresh:
        for number, name in itertools.product(numbers, names):
            with _workers(line, setting, trees, only=name) as workers:
                costs[name].append(workers[name].run(name, number))
        return {"costs": costs, "bound": None}
    bound = None
    for process in range(min(line.processes, len(numbers))):
        with _workers(line, setting, trees) as workers:
            _take_turns(workers, costs, numbers[process :: line.processes], is_quick=setting.quick)
            if with_bound and line.has_bound and not trees and bound is None:
                bound = workers[names[0]].bound(names[0])
    return {"costs": costs, "bound": bound}


def _take_turns(
    workers: dict[str, Worker], costs: dict[str, list[float]], numbers: Sequence[int], is_quick: bool
) -> None:
    """Append the costs of the rounds to `costs`; a round before them is not counted.

    The seconds of the slowest side in that round decide how often each side repeats its work in a turn: once if
    `is_quick`.
    """
    slowest = 0.0
    for name, worker in workers.items():
        start = time.monotonic()
        worker.run(name, numbers[0])
        slowest = max(slowest, time.monotonic() - start)
    repeats = 1 if is_quick else max(1, min(_MOST_REPEATS, int(_TURN_SECONDS / slowest)))
    for number in numbers:
        for name, worker in workers.items():
            costs[name].append(worker.run(name, number, repeats))


def ratios(costs: Sequence[float], reference: Sequence[float]) -> list[float]:
    """The reference's cost divided by the other cost of the same round, in ascending order."""
    return sorted(theirs / ours for ours, theirs in zip(costs, reference, strict=True))
