# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes docs/benchmarks.md from the stored results."""

import json
from pathlib import Path

import attention_report
import bench_report

_HEAD = """# Benchmarks

Time and memory of Locant beside other packages (`make bench`), and of attention with each position encoding on each
backend (`make bench-attention`). Both commands write this page from the figures in `benchmarks/results/`.
"""


def write(results: Path, target: Path) -> None:
    """Write the page `target` from all results in the folder `results`."""
    sections = [_HEAD]
    bench = results / "bench.json"
    if bench.exists():
        sections.append(bench_report.section(json.loads(bench.read_text(encoding="utf-8"))))
    profile = results / "generation_profile.md"
    if profile.exists():
        sections.append(profile.read_text(encoding="utf-8"))
    target.write_text("".join([*sections, *attention_report.sections(results)]), encoding="utf-8")
