# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant study translation`."""

from .workers import read_workers

_USAGE = "locant study translation FILE.yaml [--workers N] [--option value ...]"
_HELP = """Train one recipe with each of several position encodings and seeds, and compare the translators.

FILE.yaml is a file of locant train with one more section:

  study:
    position_encoding: [none, sinusoidal, rotary]
    seed: [1, 2, 3]

All other options are the options of locant train (see locant train --help) and apply to every run. Each run has a
folder in output_dir, and a log beside the folder; --workers N trains N runs at a time, which share the cores (the
default is 1). The report, output_dir/report.md, is rewritten after each run. The same command continues a study that
was stopped. Ctrl-C and SIGTERM let the runs save a checkpoint first."""


def run(arguments: list[str]) -> None:
    """Train the runs of the study that are not finished yet, and write the report."""
    workers, rest = read_workers("locant study translation", arguments, usage=_USAGE, description=_HELP)

    # imported here, because --help would take longer with this module
    from locant.studies.translation_study import parse_study, run_study

    run_study(parse_study(rest, workers))
