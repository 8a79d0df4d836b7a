# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Profile a line of work by module and by operation: `make profile ONLY="training step"`.

Prints two tables for each line whose name contains the text. The first has the time of each module in the forward and
in the backward pass, summed over the layers of a stack. The second has the time of each operation. Python code between
the operations of a module counts as time of the module.
"""

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from bench import LINES
from lines import Setting
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.profiler import ProfilerActivity, profile, record_function

_PREFIX = "module: "
_OUTSIDE = "(outside of modules)"


class _ModuleMarks:
    """A context in which the forward pass of each module is a range of the profiler with the module's name."""

    def __init__(self) -> None:
        self._names: dict[nn.Module, str] = {}
        self._ranges: list[Any] = []
        self._handles: list[Any] = []

    def __enter__(self) -> "_ModuleMarks":
        self._handles = [
            register_module_forward_pre_hook(self._open),
            register_module_forward_hook(self._close, always_call=True),
        ]
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _open(self, module: nn.Module, inputs: Any) -> None:
        if module not in self._names:
            root = type(module).__name__
            for name, child in module.named_modules():
                path = re.sub(r"\.\d+(?=\.|$)", ".*", name)
                self._names.setdefault(child, f"{root}.{path}" if path else root)
        self._ranges.append(record_function(_PREFIX + self._names[module]))
        self._ranges[-1].__enter__()

    def _close(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._ranges.pop().__exit__(None, None, None)


def profiled(work: Callable[[], Any]) -> list[FunctionEvent]:
    """The profiler's events of one call of `work`, modules among them."""
    with _ModuleMarks(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    return list(profiler.events())


def _ancestors(event: FunctionEvent) -> Iterable[FunctionEvent]:
    """The event, and the events around it, from the inside out."""
    around: FunctionEvent | None = event
    while around is not None:
        yield around
        around = around.cpu_parent


def milliseconds_by_module(events: Sequence[FunctionEvent]) -> dict[str, list[float]]:
    """The time of each module in the forward and in the backward pass, in milliseconds, without its submodules.

    An operation of the backward pass belongs to the module whose operation of the forward pass has the same sequence
    number of autograd.
    """
    module_of_sequence: dict[int, str] = {}
    modules: list[str | None] = []
    for event in events:
        name = next((one.name[len(_PREFIX) :] for one in _ancestors(event) if one.name.startswith(_PREFIX)), None)
        modules.append(name)
        if name is not None and event.sequence_nr >= 0:
            module_of_sequence[event.sequence_nr] = name
    times: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event, module in zip(events, modules, strict=True):
        evaluated = [one for one in _ancestors(event) if one.name.startswith("autograd::engine::evaluate_function")]
        if module is None and evaluated:
            module = module_of_sequence.get(evaluated[-1].sequence_nr)
        times[module or _OUTSIDE][bool(evaluated)] += event.self_cpu_time_total / 1000
    return times


def milliseconds_by_operation(events: Sequence[FunctionEvent]) -> dict[str, float]:
    """The milliseconds of each operation, without the operations that it calls."""
    times: Counter[str] = Counter()
    for event in events:
        times["(Python in modules)" if event.name.startswith(_PREFIX) else event.name] += (
            event.self_cpu_time_total / 1000
        )
    return times


def _print_table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]], most: int) -> None:
    total = sum(sum(times) for _, times in rows) or 1.0
    print(f"{head[0]:<60}" + "".join(f"{name:>12}" for name in (*head[1:], "share")))
    for name, times in sorted(rows, key=lambda row: -sum(row[1]))[:most]:
        print(f"{name:<60}" + "".join(f"{time:>12.2f}" for time in times) + f"{sum(times) / total:>12.1%}")
    print()


def main(arguments: Sequence[str]) -> None:
    """Profile the lines that the arguments select, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="?", default="training step", help="lines whose name contains this text")
    parser.add_argument("--peer", action="store_true", help="profile the peer instead of Locant")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--most", type=int, default=25, metavar="N", help="rows of each table (default: 25)")
    parser.add_argument("--quick", action="store_true", help="tiny models; the times mean nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    chosen = [line for line in LINES if options.only.lower() in line.name.lower()]
    if not chosen:
        sys.exit(f"No line's name contains {options.only!r}; `python benchmarks/bench.py --list` shows all names.")
    setting = Setting("cpu", options.threads, options.precision, options.quick)
    for line in chosen:
        name, build = list(line.sides.items())[-1 if options.peer else 0]
        repetition = build(setting)
        repetition(0)
        events = profiled(lambda repetition=repetition: repetition(1))
        print(f"{name}, {line.name}, {options.precision}, {options.threads} threads; milliseconds\n")
        by_module = [(module, times) for module, times in milliseconds_by_module(events).items()]
        _print_table(("module", "forward", "backward"), by_module, options.most)
        by_operation = [(operation, [time]) for operation, time in milliseconds_by_operation(events).items()]
        _print_table(("operation", "time"), by_operation, options.most)


if __name__ == "__main__":
    main(sys.argv[1:])
