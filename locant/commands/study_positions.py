# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant study positions`."""

import argparse
import os
import time

from locant.commands.command_parser import CommandParser
from locant.commands.model_options import add_number, positive
from locant.configuration.position_encodings import POSITION_ENCODINGS


def run(arguments: list[str]) -> None:
    """Train each model of the study that has no result in the folder of `--output_dir` yet, and write the report."""
    parsed = _parser().parse_args(arguments)

    # imported here, because --help would take longer with this module
    from locant.studies.position_study import StudySize, run_study

    start = time.monotonic()
    report = run_study(
        parsed.output_dir,
        parsed.encodings,
        parsed.seeds,
        StudySize(parsed.order_steps, parsed.length_steps, parsed.train_length),
        workers=parsed.workers,
        show_progress=not parsed.no_progress,
    )
    print(f"The report is {report} ({(time.monotonic() - start) / 60:.1f} minutes).")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant study positions",
        description="Train the same small model with each position encoding on generated data, and report whether the "
        "model tells apart sentences that differ in word order alone, its accuracy at 2, 4 and 8 times the training "
        "length, and its attention weights. The study runs on the CPU. The same command continues a study that was "
        "stopped; further encodings and seeds can be added to a folder.",
    )
    parser.add_argument(
        "--output_dir",
        default="runs/study-positions",
        metavar="DIR",
        help="folder of the results and the report (default: runs/study-positions)",
    )
    parser.add_argument(
        "--encodings",
        nargs="+",
        metavar="NAME",
        help=f"position encodings to train with, out of {', '.join(POSITION_ENCODINGS)} (default: all)",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        metavar="N",
        help="seeds; each model is trained once with each seed (default: 0 1 2)",
    )
    add_number(parser, "--order_steps", "training steps of each model in the part on word order", 300)
    add_number(parser, "--length_steps", "training steps of each model in the part on length", 1200)
    add_number(parser, "--train_length", "length of the longest training sequences, in tokens", 32)
    parser.add_argument(
        "--workers",
        type=positive,
        default=min(os.cpu_count() or 1, 8),
        metavar="N",
        help="number of processes, with one thread each (default: number of cores, at most 8); results do not depend "
        "on this number",
    )
    parser.add_argument("--no_progress", action="store_true", help="draw no progress bar")
    return parser
