# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A line of work: Locant and a peer do the same work, and their costs are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from measuring import seconds


class Cost(NamedTuple):
    """The cost of one repetition.

    Args:
        amount: seconds or bytes.
        tokens: number of tokens that the repetition processed, if the cost is given per token; otherwise 1.
    """

    amount: float
    tokens: int = 1

    @property
    def value(self) -> float:
        """The cost in the line's unit."""
        return self.amount / self.tokens


Repetition = Callable[[int], Cost]
"""Does the work once. The argument is the number of the repetition, from 0."""


@dataclass(frozen=True)
class Setting:
    """The device, threads, precision and model size with which a line of work is measured.

    Args:
        device: `cpu` or `cuda`.
        threads: CPU threads of each library, pinned to as many cores.
        precision: `float32`, or `bfloat16` for autocast to it.
        quick: tiny models, which show that everything runs; the times mean nothing.
    """

    device: str = "cpu"
    threads: int = 2
    precision: str = "float32"
    quick: bool = False

    def autocast(self) -> torch.autocast:
        """The autocast context in which a training step computes, the same as under the Trainer's `bf16` option."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16")

    def timed(self, function: Callable[[], Any]) -> Cost:
        """The seconds of one call of `function`."""
        return Cost(seconds(function, self.device))


Build = Callable[[Setting], Repetition]
"""Makes a repetition, its model and inputs included."""


@dataclass(frozen=True)
class Line:
    """One line of work.

    Args:
        section: heading in the table.
        work: description of the work.
        locant: by name, the builders of Locant's ways to do the work; each way is compared with the peer.
        peer: name of the model or program that Locant is compared with.
        build_peer: makes the peer's repetition.
        unit: of the costs: `s`, `s/token` or `bytes`.
        precisions: precisions in which the line is measured on CPU.
        threads: numbers of CPU threads with which the line is measured.
        rounds: how often each side runs, in all passes together, besides a round of each process that is not counted.
        processes: number of processes, one after the other, among which the rounds of a pass are divided. Speed
            differs between processes that do the same work, because their memory is at different addresses.
        has_bound: the cost is time, and the matrix products of Locant's first way can be recorded.
        fresh: whether every repetition runs in a process of its own, as is needed to measure memory.
    """

    section: str
    work: str
    locant: dict[str, Build]
    peer: str
    build_peer: Build
    unit: str = "s"
    precisions: tuple[str, ...] = ("float32",)
    threads: tuple[int, ...] = (2, 1)
    rounds: int = 7
    processes: int = 1
    has_bound: bool = True
    fresh: bool = False

    @property
    def name(self) -> str:
        """The full name of the line; `--only TEXT` selects the lines whose name contains TEXT."""
        return f"{self.section}: {self.work}, beside {self.peer}"

    @property
    def sides(self) -> dict[str, Build]:
        """Locant's ways and the peer, in the order in which they take turns."""
        return {**self.locant, self.peer: self.build_peer}
