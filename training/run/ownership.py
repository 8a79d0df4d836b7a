# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The owner file, by which a run on one machine notices that a run on another machine trains in the same folder.

A file lock does not always exclude the processes on other machines that share the disk. The owner file names the
machine and the process that trains in the folder. Its modification time is a time at which the process was alive, and
is updated every 30 seconds.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from locant.utils.files import write_text

from ..errors import InputError

OWNER_FILE = ".owner.json"
_SECONDS_BETWEEN_SIGNS = 30.0
_SECONDS_UNTIL_STALE = 600.0


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Write the owner file into `folder`, keep its modification time up to date, and delete it after the `with` block.

    The caller must hold a lock that excludes other processes on this machine. So an owner file that names this machine
    was left by a killed process, and is replaced.

    Raises:
        InputError: a process on another machine owns the folder, and was alive in the last ten minutes.
    """
    file = folder / OWNER_FILE
    _check(file)
    write_text(file, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}) + "\n")
    is_over = threading.Event()
    thread = threading.Thread(target=_give_signs, args=(file, is_over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        with suppress(OSError):  # the disk may have become read-only
            file.unlink()


def _check(file: Path) -> None:
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        host, pid = owner["host"], owner["pid"]
        age = time.time() - file.stat().st_mtime
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return
    if host != socket.gethostname() and age < _SECONDS_UNTIL_STALE:
        raise InputError(
            f"output_dir {file.parent} is in use by process {pid} on {host}, which was last heard of {max(0, age):.0f} "
            f"seconds ago: wait until the process has ended, or give another output_dir, or delete {file} if the "
            "process has ended already."
        )


def _give_signs(file: Path, is_over: threading.Event) -> None:
    while not is_over.wait(_SECONDS_BETWEEN_SIGNS):
        with suppress(OSError):
            os.utime(file)
