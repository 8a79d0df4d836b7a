# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant train`."""

from locant.cpu_processes import start_missing_processes
from locant.training.options.run_config import parse_run_config


def run(arguments: list[str]) -> None:
    """Train a model with the options of the YAML file and of the command line, or resume a stopped run."""
    start_missing_processes(arguments)
    run_config = parse_run_config(arguments)

    # imported here, because --help and error messages would take longer with these modules
    from locant.hub.sharing.model_card import write_model_card
    from locant.training.run.training_run import train

    train(run_config, write_card=write_model_card)
