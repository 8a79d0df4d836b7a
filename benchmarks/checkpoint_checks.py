# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What checking a checkpoint costs beside loading it: prints the table of docs/safety.md.

python benchmarks/checkpoint_checks.py
"""

import statistics
import tempfile
import time
from unittest import mock

import torch

from locant import LocantConfig, LocantForConditionalGeneration
from locant.modeling import pretrained

MODELS = [("big", torch.float32), ("big", torch.bfloat16), ("big", torch.float16), ("tiny", torch.float32)]
LOADS = 7


def seconds(folder: str, checked: bool) -> float:
    """Of one `from_pretrained`."""
    check = pretrained.check_numbers if checked else lambda *arguments: None
    with mock.patch.object(pretrained, "check_numbers", check):
        start = time.perf_counter()
        LocantForConditionalGeneration.from_pretrained(folder)
        return time.perf_counter() - start


def row(preset: str, dtype: torch.dtype) -> str:
    """Medians of loads in turns, with the file in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        model = LocantForConditionalGeneration(LocantConfig.from_preset(preset)).to(dtype)
        size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        model.save_pretrained(folder)
        del model
        times = [(seconds(folder, True), seconds(folder, False)) for _ in range(LOADS)]
    checked, plain = (statistics.median(column) for column in zip(*times, strict=True))
    name = str(dtype).removeprefix("torch.")
    return f"| `{preset}`, {name}, {size / 1e6:.0f} MB | {checked:.3f} s | {plain:.3f} s | {checked - plain:.3f} s |"


def main() -> None:
    """Print the table."""
    print("| model | with | without | the check |\n| --- | --- | --- | --- |")
    for preset, dtype in MODELS:
        print(row(preset, dtype))


if __name__ == "__main__":
    main()
