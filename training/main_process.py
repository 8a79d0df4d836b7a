# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Printing in runs of several processes."""

import os


def print_in_main_process(text: str) -> None:
    """Print `text`, in the main process only."""
    # torchrun and Accelerate set RANK, the number of the process. Accelerate could give the number too, but would first
    # connect the processes, before the options of the connection, such as `ddp_timeout`, are known
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)
