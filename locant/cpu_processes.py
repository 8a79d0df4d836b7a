# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`accelerate launch --cpu --num_processes N` made to start N processes.

Without an MPI host file, Accelerate starts one process for it and does not say so. It does leave MASTER_ADDR behind,
which it sets only where several were asked for; how many is read off its command line, with its own parser.
"""

import logging
import os
import sys
from collections.abc import Mapping

import psutil
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

# What tells a process of several which one it is, under torchrun and under MPI
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def start_missing_processes(arguments: list[str], environment: Mapping[str, str] = os.environ) -> None:
    """Become a launcher of `locant train` processes where Accelerate should have been one; else return.

    Args:
        arguments: of `locant train`.
        environment: variables that tell how this process was started.
    """
    on_cpu = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    is_one_of_several = any(name in environment for name in _RANKS)
    if not on_cpu or is_one_of_several or "MASTER_ADDR" not in environment:
        return
    parent = psutil.Process().parent()
    number = asked_for(parent.cmdline()) if parent else 1
    if number > 1:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={number}"]
        os.execv(sys.executable, [*launcher, "-m", "locant", "train", *arguments])


def asked_for(command_line: list[str]) -> int:
    """How many processes an `accelerate launch` asks for, its configuration file included; 1 for other commands."""
    for place, word in enumerate(command_line):
        if word == "launch" or word.endswith(("accelerate-launch", "accelerate.commands.launch", "commands/launch.py")):
            # Accelerate has said already what it was not told
            logging.getLogger("accelerate.commands.launch").setLevel(logging.ERROR)
            parsed, *_ = _validate_launch_command(launch_command_parser().parse_args(command_line[place + 1 :]))
            return parsed.num_processes or 1
    return 1
