# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Runs of `locant train`, each in a process of its own that saves a checkpoint and stops if its parent process ends."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from locant.training.options.run_config import RunConfig
from locant.training.run.run_folder import RunFolder
from locant.utils.files import write_text
from locant.utils.run_files import RUN_CONFIG_FILE

COMMAND = [sys.executable, "-P", "-m", "locant.commands.child_run"]
"""The command that trains a run; its argument is the folder of the run."""

SECONDS_BETWEEN_LOOKS = 0.5
"""The number of seconds between two checks of whether running processes have ended."""


class RunProcess:
    """Runs `locant train` in a process of its own, which writes its output to `FOLDER.log` beside the run's folder.

    A finished run is not started again. Ctrl-C at the terminal does not reach the process: `stop` ends it.

    Args:
        config: the configuration of the run.
        threads: the number of threads of the process.

    Raises:
        InputError: the folder of the run holds another run, or other files.
    """

    def __init__(self, config: RunConfig, threads: int):
        self.folder = RunFolder(config)
        self.log = self.folder.path.with_name(f"{self.folder.path.name}.log")
        self._process: subprocess.Popen | None = None
        self._log_start = 0  # the number of bytes that earlier processes of the run have written to the log
        if self.folder.is_finished():
            return
        # the file is also rewritten for a resumed run: if the folder was moved, the old file has the folder's old path
        write_text(self.folder.path / RUN_CONFIG_FILE, config.to_yaml())
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            # the run reads from this pipe, and stops when the pipe is closed; the system closes the pipe when this
            # process ends, even if SIGKILL ends this process
            self._process = subprocess.Popen(
                [*COMMAND, str(self.folder.path)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def status(self) -> int | None:
        """Return the exit status, which is negative if a signal killed the process; None while the process runs.

        If no process was started, as the run was finished already, return 0.
        """
        return 0 if self._process is None else self._process.poll()

    def explanation(self) -> str:
        """Return why the run failed.

        The reason is the last error message in the log of the run. If there is none, it is the signal that killed the
        process; if no signal killed the process, it is the exit status and the last line of the log.
        """
        with open(self.log, encoding="utf-8", errors="replace") as log:
            log.seek(self._log_start)
            last = [line.strip() for line in deque(log, maxlen=20) if line.strip()]
        errors = [line.partition("error: ")[2] for line in last if line.startswith("locant ") and "error: " in line]
        status = self.status()
        if errors:
            return errors[-1]
        if status is not None and status < 0:
            return f"the process was killed by {signal.Signals(-status).name}"
        return f"exit status {status}, {last[-1] if last else 'without a message'}"

    def stop(self) -> None:
        """Send SIGTERM to the process, so that the run saves a checkpoint and ends; `wait` waits for the end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the process has ended."""
        if self._process is not None:
            self._process.wait()


@contextmanager
def signals_kept() -> Iterator[list[int]]:
    """Yield a list; in the `with` block, the first SIGINT and the first SIGTERM only add their number to the list.

    The second SIGINT, or the second SIGTERM, has the effect that the signal had before the `with` block.
    """
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
