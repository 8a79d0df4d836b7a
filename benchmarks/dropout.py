# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Time of a forward and backward pass of `torch.nn.Dropout` and of Locant's `Dropout` on a CPU.

The times are printed for one thread and for as many threads as torch uses by default:

    python benchmarks/dropout.py
"""

import statistics
from collections.abc import Callable

import torch
from measuring import interleaved_times
from torch import nn

from locant.modeling.layers import Dropout

SHAPES = ((1000, 128), (2000, 256), (8000, 512))
DTYPES = (torch.float32, torch.bfloat16)
ROUNDS = 20


def passes(module: nn.Module, states: torch.Tensor) -> Callable[[], object]:
    """A function that runs a forward and a backward pass of the module on `states`."""
    return lambda: torch.autograd.grad(module(states), states, states.detach())


def main() -> None:
    """Print a table for one thread, and a table for torch's default number of threads."""
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        print(f"threads: {threads}; ms of torch's and of Locant's dropout, and their ratio")
        for shape in SHAPES:
            for dtype in DTYPES:
                states = torch.randn(shape, dtype=dtype, requires_grad=True)
                functions = [passes(module(0.1), states) for module in (nn.Dropout, Dropout)]
                interleaved_times(functions, 2)
                stock, own = (statistics.median(times) * 1e3 for times in interleaved_times(functions, ROUNDS))
                print(f"  {shape[0]} x {shape[1]}, {dtype}: {stock:.2f} / {own:.2f} = {stock / own:.1f}", flush=True)


if __name__ == "__main__":
    main()
