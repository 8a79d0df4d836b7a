# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The stored study of a search: Optuna's journal file, which stays readable if the process that writes it is killed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend, JournalStorage

from locant.training.errors import InputError

from .search_config import Search, identity

JOURNAL_FILE = "study.journal"
_LOCK_FILE = ".lock"
_IDENTITY = "search"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder of a search until the end of the `with` block; the system removes the lock of a dead process.

    Raises:
        InputError: another search runs in the folder; or `folder` is a file, or holds files, but no search.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"output_dir {folder} is in use by another search: wait for it, or give another output_dir."
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_folder(folder: Path) -> None:
    """Raise `InputError` if the folder of a search is a file, or holds files, but no search."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output_dir {folder} is a file: give another output_dir.")
    if not (folder / JOURNAL_FILE).exists() and any(not path.name.startswith(".") for path in folder.glob("*")):
        raise InputError(
            f"output_dir {folder} is not empty, and has no {JOURNAL_FILE}, so it holds no search: give another "
            "output_dir."
        )


def open_study(search: Search) -> optuna.Study:
    """Open or create the study of a search, and add the planned trials that the study lacks; the folder must be locked.

    Raises:
        InputError: the folder holds another search, or a search of more trials.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = search.folder / JOURNAL_FILE
    _cut_unfinished_line(journal)
    # the system removes this lock when the process dies; Optuna's own lock would stay for half a minute
    lock: Any = FileLock(search.folder / f".{JOURNAL_FILE}.lock")
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal), lock_obj=lock)),
        study_name="search",
        direction="maximize" if search.higher_is_better else "minimize",
        pruner=optuna.pruners.MedianPruner() if search.pruning else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    asked = json.loads(json.dumps(identity(search)))
    kept = study.user_attrs.get(_IDENTITY, asked)
    for name in sorted(asked.keys() | kept.keys()):
        if asked.get(name) != kept.get(name):
            raise InputError(
                f"output_dir {search.folder} holds a different search, with {name} {kept.get(name)!r} and not "
                f"{asked.get(name)!r}: give another output_dir, or the same {name}."
            )
    study.set_user_attr(_IDENTITY, asked)
    kept_trials = len(study.get_trials(deepcopy=False))
    if kept_trials > len(search.planned):
        raise InputError(
            f"output_dir {search.folder} holds a search of {kept_trials} trials, but this search has "
            f"{len(search.planned)}: give at least {kept_trials} trials, or another output_dir."
        )
    for planned in search.planned[kept_trials:]:
        study.enqueue_trial(planned.values)
    return study


def sampler_of(search: Search, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for the trial `number`.

    Each trial has a sampler with a seed of its own: one sampler for all trials would draw the values of the first
    trials again when the search is resumed.
    """
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    return samplers.get(search.sampler, optuna.samplers.RandomSampler)(seed=seed)


def _cut_unfinished_line(journal: Path) -> None:
    """Delete an incomplete last line of the journal, which is left if a process is killed while it writes the line."""
    if not journal.exists():
        return
    with open(journal, "r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
