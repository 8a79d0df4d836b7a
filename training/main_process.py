# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Printing in runs of several processes."""

import os


def print_in_main_process(text: str) -> None:
    """Print `text`, in the main process only."""
    # torchrun and Accelerate set RANK, the number of the process; asking Accelerate for the number would begin the
    # communication of the processes before the options that concern it are known
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)
