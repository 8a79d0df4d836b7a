# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Time of `nn.Linear` and of oneDNN's product for few rows on a CPU.

The limits in modeling/linear.py follow from these times, which depend on the numbers of threads, weights and rows.

    python benchmarks/few_rows.py
"""

import statistics

import torch
from measuring import interleaved_times
from torch import nn

ROWS = (1, 4, 32, 128, 256, 512)
SHAPES = ((256, 256), (1024, 256), (512, 512), (768, 768), (2048, 512), (512, 2048), (8000, 512))  # outputs and inputs
_MOST_BYTES = 100 * 2**20  # bytes of all layers, which run in turns, so that no weight comes from a cache


def milliseconds(shape: tuple[int, int], rows: int) -> tuple[float, float]:
    """The median time of a product by `nn.Linear` and by oneDNN."""
    layers = [nn.Linear(shape[1], shape[0]) for _ in range(max(2, _MOST_BYTES // (4 * shape[0] * shape[1])))]
    states = torch.randn(rows, shape[1])
    product = torch.ops.mkldnn._linear_pointwise
    by_layer = lambda: [layer(states) for layer in layers]  # noqa: E731
    by_onednn = lambda: [product(states, layer.weight, layer.bias, "none", [], "") for layer in layers]  # noqa: E731
    with torch.no_grad():
        interleaved_times([by_layer, by_onednn], 1)
        times = interleaved_times([by_layer, by_onednn], 5)
    first, second = (statistics.median(own) / len(layers) * 1e3 for own in times)
    return first, second


def main() -> None:
    """Print a table for one thread and one for two."""
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print(f"threads: {threads}; ms by nn.Linear / by oneDNN for {', '.join(map(str, ROWS))} rows")
        for shape in SHAPES:
            cells = ["{:.3f} / {:.3f}".format(*milliseconds(shape, rows)) for rows in ROWS]
            print(f"  {shape[0]:>5} x {shape[1]:<5} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
