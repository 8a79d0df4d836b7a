# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Measure memory and speed of attention, and write docs/benchmarks.md: `make bench-attention`.

The parts memory and speed together take about 20 minutes on 2 cores without other load, and the part long about 35.
With --encodings, --lengths, --backends or --quick, the results are only printed, unless --output_dir names a folder for
them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attention_long
import attention_memory
import attention_report as report
import attention_speed
import page
import torch
from attention_models import BENCHMARK, LONG, QUICK, Shape
from measuring import machine

from locant.configuration.position_encodings import POSITION_ENCODINGS

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("memory", "speed", "long")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part instead of all")
    parser.add_argument("--encodings", nargs="+", choices=POSITION_ENCODINGS, metavar="NAME", help="these alone")
    parser.add_argument(
        "--backends", nargs="+", choices=attention_speed.BACKENDS, help="of Locant in speed, these alone"
    )
    parser.add_argument("--lengths", nargs="+", type=int, metavar="TOKENS", help="instead of each part's own")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="one device (default: all that are there)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--rounds", type=int, default=attention_speed.ROUNDS, help="of speed, at least (default: 3)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny stacks: shows that all runs, its figures mean nothing"
    )
    parser.add_argument("--output_dir", type=Path, help="where results and page go, instead of their places")
    return parser.parse_args(arguments)


def _measure(part: str, device: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    shape = _shape(part, options)
    given = {"encodings": options.encodings, "lengths": options.lengths}
    given = {name: value for name, value in given.items() if value is not None}
    if part == "memory":
        return attention_memory.measure(shape, device=device, threads=options.threads, **given)
    if part == "long":
        return attention_long.measure(shape, device=device, threads=options.threads, **given)
    if options.backends is not None:
        given["backends"] = options.backends
    return attention_speed.measure(shape, device=device, threads=options.threads, rounds=options.rounds, **given)


def _shape(part: str, options: argparse.Namespace) -> Shape:
    return QUICK if options.quick else LONG if part == "long" else BENCHMARK


def main(arguments: Sequence[str]) -> None:
    """Run and print the selected measurements; write results and page, unless limited without `--output_dir`."""
    options = _parse(arguments)
    results_dir, target = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks.md"
    if options.output_dir is not None:
        results_dir, target = options.output_dir, options.output_dir / "benchmarks.md"
    limited = options.encodings or options.backends or options.lengths or options.quick
    devices = [options.device] if options.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for part in [options.only] if options.only else PARTS:
        for device in devices:
            results = {
                "command": " ".join(["python benchmarks/attention.py", *arguments]),
                "machine": machine(options.threads),
                "device": device,
                "shape": str(_shape(part, options)),
                "rounds": options.rounds,
                "rows": _measure(part, device, options),
            }
            print(report.section(part, results))
            if options.output_dir is not None or not limited:
                report.store(results, results_dir, part)
                page.write(results_dir, target)
                if part == "long":
                    report.write_picture(results, target.parent / "images")


if __name__ == "__main__":
    main(sys.argv[1:])
