# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Lower bounds on the time of a line of work on this machine: of its matrix products, and of reading its weights.

A line of work runs once under `WorkRecorder`. Each recorded matrix product is then timed by itself. The time to copy a
large buffer gives the memory bandwidth.
"""

import gc
import statistics
import time
from collections import Counter
from typing import Any, NamedTuple

import torch
from lines import Repetition
from measuring import seconds
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

_COPY_BYTES = 2**28
_SECONDS = 0.01  # for which each distinct product is repeated


class Product(NamedTuple):
    """`batch` matrix products `(rows, inner) × (inner, columns)` of one dtype."""

    batch: int
    rows: int
    inner: int
    columns: int
    dtype: torch.dtype


class WorkRecorder(TorchDispatchMode):
    """Counts the matrix products that run inside the context, and the bytes of the parameters that they read.

    Attention kernels count as the products of their definition: two forward, five backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()
        self.weight_bytes = 0
        self._parameters: set[int] = set()

    def __enter__(self) -> "WorkRecorder":
        self._find_parameters()
        super().__enter__()
        return self

    def _find_parameters(self) -> None:
        parameters = (value for value in gc.get_objects() if type(value) is nn.Parameter)
        self._parameters = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record the operation, and run it."""
        name = function.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self._record(*args[:2])
        elif name in ("addmm", "baddbmm"):
            self._record(*args[1:3])
        elif name == "_to_copy":  # autocast reads a weight to cast it
            self._count_weights(args[0])
        elif name.startswith("_scaled_dot_product") and "attention" in name:
            self._record_attention(name, args)
        return function(*args, **(kwargs or {}))

    def _record(self, left: torch.Tensor, right: torch.Tensor) -> None:
        batch = left.shape[0] if left.ndim == 3 else 1
        self.products[Product(batch, left.shape[-2], left.shape[-1], right.shape[-1], left.dtype)] += 1
        self._count_weights(left)
        self._count_weights(right)

    def _count_weights(self, operand: torch.Tensor) -> None:
        if operand.untyped_storage().data_ptr() in self._parameters:
            self.weight_bytes += operand.numel() * operand.element_size()

    def _record_attention(self, name: str, args: Any) -> None:
        is_backward = name.endswith("_backward")
        query, key, value = args[1:4] if is_backward else args[:3]
        batch, (queries, keys) = query.shape[0] * query.shape[1], (query.shape[2], key.shape[2])
        scores = Product(batch, queries, query.shape[3], keys, query.dtype)
        output = Product(batch, queries, keys, value.shape[3], query.dtype)
        self.products[scores] += 2 if is_backward else 1  # backward: scores again, gradient of attention weights
        self.products[output] += 1  # the output; backward, the query's gradient
        if is_backward:  # gradients of key and value
            self.products[Product(batch, keys, queries, value.shape[3], query.dtype)] += 2


def flops(products: Counter[Product]) -> int:
    """Floating-point operations of all products, a multiplication and an addition counted as two."""
    return sum(2 * p.batch * p.rows * p.inner * p.columns * count for p, count in products.items())


def seconds_of_products(products: Counter[Product], device: str) -> float:
    """The seconds of all products, each timed by itself."""
    return sum(count * _bare_seconds(product, device) for product, count in products.items())


def _bare_seconds(product: Product, device: str) -> float:
    """The seconds of the fastest of several products of this shape, each timed by itself."""
    left = torch.randn(product.batch, product.rows, product.inner, device=device).to(product.dtype)
    right = torch.randn(product.batch, product.inner, product.columns, device=device).to(product.dtype)
    if product.batch == 1:
        left, right = left[0], right[0]
    result = left @ right
    times, start = [], time.perf_counter()
    while not times or time.perf_counter() - start < _SECONDS:
        times.append(seconds(lambda: torch.matmul(left, right, out=result), device))
    return min(times)


def bytes_per_second(device: str) -> float:
    """Bytes that a copy of a large buffer reads and writes in a second: the median of seven copies."""
    source = torch.ones(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    times = [seconds(lambda: target.copy_(source), device) for _ in range(8)][1:]
    return 2 * _COPY_BYTES / statistics.median(times)


def bound_of(repetition: Repetition, device: str) -> dict[str, float]:
    """The lower bounds of the cost of one repetition; they are per token if the cost is per token.

    Returns:
        `products`, the seconds of all matrix products, each timed by itself; `weights`, the seconds of reading the
        weights of these products at the rate of a copy; `gflops`, the 10⁹ floating-point operations of the products;
        `weight_gigabytes`, the 10⁹ bytes of the weights that they read.
    """
    with torch.random.fork_rng(), WorkRecorder() as work:
        tokens = repetition(0).tokens
    return {
        "products": seconds_of_products(work.products, device) / tokens,
        "weights": work.weight_bytes / bytes_per_second(device) / tokens,
        "gflops": flops(work.products) / 1e9 / tokens,
        "weight_gigabytes": work.weight_bytes / 1e9 / tokens,
    }
