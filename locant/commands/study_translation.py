# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant study translation`."""

_USAGE = """usage: locant study translation FILE.yaml [--option value ...]

Train one recipe with each of several position encodings and seeds, and compare the translators.

FILE.yaml is a file of locant train with one more section:

  study:
    position_encoding: [none, sinusoidal, rotary]
    seed: [1, 2, 3]

All other options are those of locant train (locant train --help) and hold for every run. Each run has a folder in
output_dir; report.md there is rewritten after each one. The same command goes on where a study was stopped."""


def run(arguments: list[str]) -> None:
    """Train the runs of the study that are not finished yet, and write the report."""
    if {"-h", "--help"} & set(arguments):
        print(_USAGE)
        return

    from locant.training.translation_study import parse_study, run_study  # slow to import, and --help does not use it

    run_study(parse_study(arguments))
