# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The owner file, by which a run on one machine notices that a run on another machine trains in the same folder.

A lock on a file does not always reach the other machines that share a disk. The owner file names the machine and the
process, and its modification time is when the process was last alive.
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
    """Keep the owner file in `folder` up to date until the end of the `with` block, which deletes it.

    The caller holds a lock that excludes other processes on this machine, so an owner file that names this machine is
    one that a killed process left.

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
            f"seconds ago: wait for it, or give another output_dir, or delete {file} if that process has ended."
        )


def _give_signs(file: Path, is_over: threading.Event) -> None:
    while not is_over.wait(_SECONDS_BETWEEN_SIGNS):
        with suppress(OSError):
            os.utime(file)
