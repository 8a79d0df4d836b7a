# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Makes `accelerate launch --cpu --num_processes N` start N processes.

Without an MPI host file, Accelerate starts one process for this command, and gives no warning. Accelerate sets the
environment variable MASTER_ADDR only if the user asked for several processes or machines. If MASTER_ADDR is set, this
module reads the number of processes from the command line of the parent process, with the parser of Accelerate.
"""

import logging
import os
import sys
from collections.abc import Mapping

import psutil
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

# Environment variables that hold the rank of a process, under torchrun and under MPI
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def start_missing_processes(arguments: list[str], environment: Mapping[str, str] = os.environ) -> None:
    """Replace this process by torchrun with N processes of `locant train` if Accelerate had to start N but started one.

    Otherwise, the function returns without effect.

    Args:
        arguments: the arguments of `locant train`.
        environment: the environment variables, which show whether Accelerate started this process.
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
    """Return the number of processes that an `accelerate launch` command asks for; 1 for any other command."""
    for place, word in enumerate(command_line):
        if word == "launch" or word.endswith(("accelerate-launch", "accelerate.commands.launch", "commands/launch.py")):
            # hide the warning about default values, which Accelerate has already logged in the parent process
            logging.getLogger("accelerate.commands.launch").setLevel(logging.ERROR)
            parsed, *_ = _validate_launch_command(launch_command_parser().parse_args(command_line[place + 1 :]))
            return parsed.num_processes or 1
    return 1
