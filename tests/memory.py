# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The memory that a call takes. Scripts that run in a fresh process contain this file's text.

The difference of two values of `ru_maxrss` would not do: Linux starts that value at the peak of the parent process.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def megabytes_taken(function: Callable[[], Any]) -> float:
    """The peak of resident memory during a call, less what was resident before it; 0 on systems other than Linux."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return 0.0
    clear.write_text("5")  # sets VmHWM to VmRSS
    before = _own_status("VmHWM")
    function()
    return _own_status("VmHWM") - before


def _own_status(name: str) -> float:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024
