# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A line of work: Locant and a peer do the same work, and their costs are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from measuring import seconds


class Cost(NamedTuple):
    """What one repetition cost.

    Args:
        amount: seconds or bytes.
        tokens: how many tokens it was spent on, where the cost is that of a token; otherwise 1.
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
    """Where and how a line of work is measured.

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
        locant: by name, Locant's ways to do it; each is compared with the peer.
        peer: name of what Locant is compared with.
        build_peer: makes the peer's repetition.
        unit: of the costs: `s`, `s/token` or `bytes`.
        precisions: precisions in which the line is measured on CPU.
        threads: numbers of CPU threads with which the line is measured.
        rounds: how often each side runs at least, after one round that is not counted.
        processes: processes among which the rounds are divided, one after the other. Speed differs between processes
            that do the same, by where their memory happens to lie.
        has_bound: the cost is time, and the matrix products of Locant's first way can be recorded.
        fresh: every repetition runs in a process of its own, which is how memory is measured.
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
        """The full name of the line, in which `--only` searches for its text."""
        return f"{self.section}: {self.work}, beside {self.peer}"

    @property
    def sides(self) -> dict[str, Build]:
        """Locant's ways and the peer, in the order in which they take turns."""
        return {**self.locant, self.peer: self.build_peer}
