# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A program that runs `locant`, again and again, each time in a process of its own that kills itself where it is told.

It imports Locant once, so that a process is a fork that begins at once. It reads a JSON object a line from standard
input, and answers each with the return code of the process in a line of standard output:

- `arguments`: the command line;
- `cache`: the folder for the cache of `datasets`;
- `log`: the file for the output of the process;
- `kill`: None, or a list of the function (`module:name`), the number of the call at which the process kills itself, a
  text in which one argument of a call that counts must end, and whether half of the work is done first. Half of the
  work is half of the bytes of a file that the function writes, or half of the files of a folder that it deletes.
"""

import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path


def kill_at(where, number, ending="", half=False):
    module, _, name = where.partition(":")
    *owners, name = name.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []

    def killing(*args, **kwargs):
        texts = [str(value) for value in (*args, *kwargs.values()) if isinstance(value, str | Path)]
        if not ending or any(text.endswith(ending) for text in texts):
            calls.append(name)
        if len(calls) < number:
            return original(*args, **kwargs)
        if half and name == "rmtree":
            files = sorted(file for file in Path(texts[0]).iterdir() if file.is_file())
            for file in [*(file for file in files if file.suffix == ".safetensors"), *files[: len(files) // 2]]:
                file.unlink(missing_ok=True)
        elif half:
            original(*args, **kwargs)
            path = next(text for text in texts if Path(text).is_file())
            os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killing)


def run(job, main):
    with open(job["log"], "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    datasets.config.HF_DATASETS_CACHE = job["cache"]
    if job["kill"]:
        kill_at(*job["kill"])
    try:
        status = main(job["arguments"])
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    import datasets
    import matplotlib.figure  # noqa: F401

    from locant.cli import main
    from locant.hub.sharing import model_card  # noqa: F401  (`locant train` imports these two)
    from locant.training.run import training_run  # noqa: F401

    assert shutil  # the functions of this module are patched
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line), main)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
