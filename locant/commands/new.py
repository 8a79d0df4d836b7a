# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant new`."""

import argparse
import shlex
from importlib.resources import files

from locant.commands.command_parser import CommandParser
from locant.examples.phrasebook import DEV_PAIRS, TEST_PAIRS, TRAIN_PAIRS, make_corpus, write_corpus
from locant.hub.new_folder import new_folder


def run(arguments: list[str]) -> None:
    """Write a folder with training data and a YAML file for `locant train`; print the commands that train on them."""
    parsed = _parser().parse_args(arguments)
    configuration = files("locant.examples").joinpath("phrasebook.yaml").read_text(encoding="utf-8")
    with new_folder(parsed.folder) as folder:
        write_corpus(make_corpus(TRAIN_PAIRS, DEV_PAIRS, TEST_PAIRS), folder / "data")
        # the paths in the YAML file are those of Locant's repository; in a new project, the data are in `data/`
        text = configuration.replace("examples/data/phrasebook/", "data/")
        (folder / "phrasebook.yaml").write_text(text, encoding="utf-8")
    print(f"cd {shlex.quote(parsed.folder)}\nlocant train phrasebook.yaml")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant new",
        description="Write a project that is ready to train: phrasebook.yaml, the configuration of a translator, and "
        f"its training data in the folder data, {TRAIN_PAIRS:,} English–French sentence pairs from a small grammar. "
        "`python -m locant.examples.phrasebook --help` shows how to write more or fewer pairs.",
    )
    parser.add_argument("project", choices=["phrasebook"], help="the project to write")
    parser.add_argument("folder", metavar="DIR", help="folder to write, which must be new or empty")
    return parser
