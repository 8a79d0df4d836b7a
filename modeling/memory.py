# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Whether weights fit into the memory of this machine."""

import os
from pathlib import Path

import torch
from torch import nn


def check_memory(parameters: int, what: str = "This model") -> None:
    """Raise when so many parameters cannot be made here: on the meta device any number can.

    Raises:
        ValueError: they take more than the memory that there is, of the machine or of the GPU they are made on.
    """
    probe = nn.LayerNorm(1).weight  # made as the others will be, but nothing is drawn for it
    if probe.is_meta or type(probe.data) is not torch.Tensor:
        return
    memory, needed = memory_of(probe.device), parameters * probe.element_size()
    if memory is not None and needed > memory:
        raise ValueError(
            f"{what} has {parameters:,} parameters, which take {needed / 1e9:,.1f} GB, and there are "
            f"{memory / 1e9:,.1f} GB of memory on {probe.device}: choose smaller sizes in the config."
        )


def memory_of(device: torch.device) -> int | None:
    """All of a device's memory in bytes, used or not; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type != "cpu" or not hasattr(os, "sysconf"):
        return None
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        limits.append(int(text))
    return min(limits)
