# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A run of `locant train` in a process that `locant search` or `locant study translation` starts.

The options of the run are in `run_config.yaml` in the folder of the run. The standard input of the process is a pipe
from the parent process. When the parent process ends, the pipe is closed, and this process sends itself SIGTERM.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from filelock import FileLock

from locant import cli
from locant.utils.run_files import RUN_CONFIG_FILE

LOCK_FILE = ".process.lock"


def main(folder: Path) -> int:
    """Run `locant train` on the `run_config.yaml` in `folder`, and return the exit status of `locant train`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # an earlier process of the run, whose parent was killed, may still be saving a checkpoint: wait until it has ended
    with FileLock(folder / LOCK_FILE):
        return cli.main(["train", str(folder / RUN_CONFIG_FILE)])


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
