# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Measures peak memory and time, and describes the machine."""

import ctypes
import datetime
import gc
import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers

_M_MMAP_THRESHOLD = -3  # of <malloc.h>: allocations of this many bytes or more are returned to the system when freed


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, computed in a process that has done nothing else.

    The process is forked from a server that has imported the libraries and computed nothing, which spares the
    seconds of the imports.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "locant.modeling.stacks"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def peak_memory(function: Callable[[], Any], device: str = "cpu", returns_freed: bool = True) -> int:
    """Bytes by which memory rises at most while `function` runs.

    On CPU it is the kernel's own high-water mark of resident memory, reset just before, so that no peak falls
    between two samples; on CUDA it is the allocator's.

    Args:
        function: the work.
        device: `cpu` or `cuda`.
        returns_freed: whether the C library returns freed tensors to the system at once, from now on in this process.
            The memory that it keeps by default saves time, but differs between runs by up to three times the peak.

    Raises:
        OSError: the device is `cpu`, and the system is not Linux.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if returns_freed:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**17)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    before = _own_status("VmRSS")
    function()
    return _own_status("VmHWM") - before


def _own_status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}.")


def seconds(function: Callable[[], Any], device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds of one call on `clock`, including the GPU kernels that it starts."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def interleaved_times(
    functions: Sequence[Callable[[], Any]],
    rounds: int,
    budget: float = 0.0,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds of each function in each of several rounds, in which every function runs once.

    A temporary slowdown of the machine then affects all functions alike. Every round begins with another function,
    because the first function of a round finds the memory in another state than the functions after it.

    Args:
        functions: the caller has run each once, so that it is warm.
        rounds: the least number of rounds; up to three times as many run while they begin within the budget.
        budget: seconds.
        device: `cpu` or `cuda`.
        clock: returns seconds; `time.process_time` leaves out the time of other processes on the same cores.
    """
    times: list[list[float]] = [[] for _ in functions]
    start = time.perf_counter()
    for first in range(3 * rounds):
        if first >= rounds and time.perf_counter() - start > budget:
            break
        gc.collect()
        for step in range(len(functions)):
            place = (first + step) % len(functions)
            times[place].append(seconds(functions[place], device, clock))
    return times


def machine(threads: int | None) -> dict[str, str]:
    """The machine and the software that the figures depend on, as text; `threads` is None if figures differ in it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    description = {
        "date": datetime.date.today().isoformat(),
        "CPU": f"{_cpu_model()}, {cores} cores, {memory:.0f} GB of memory",
        **({} if threads is None else {"threads": str(threads)}),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "commit": _commit(),
    }
    if torch.cuda.is_available():
        description["GPU"] = torch.cuda.get_device_name()
    return description


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")  # only Linux has it
    for line in file.read_text().splitlines() if file.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The commit of the working tree, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    folder = Path(__file__).resolve().parent
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip() or "unknown"
