# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Saves and deletes checkpoints and models.

If the process is killed in between, nothing that is incomplete looks complete.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import CONFIG_NAME

from .run_folder import complete_checkpoints, is_complete, is_extra, mark_extra, step_of

_DELETED = ".deleted-"
_UNFINISHED = ".unfinished-model"
_OF_MODEL = ("model*.safetensors*", "modeling_locant*.py")
"""Patterns of files of an older model, which the new model may not have under the same names."""


def begin_checkpoint(checkpoint: Path, extra: bool) -> None:
    """Make the folder of a checkpoint that is about to be saved, and mark it as incomplete.

    Args:
        checkpoint: the folder, in which the Trainer then writes its state file last.
        extra: whether the run would not save a checkpoint at this step if it had not been terminated. A checkpoint that
            the run has already saved at this step does not become an extra one.
    """
    extra = extra and not (is_complete(checkpoint) and not is_extra(checkpoint))
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / TRAINER_STATE_NAME).unlink(missing_ok=True)
    mark_extra(checkpoint, extra)


def rotate(folder: Path, limit: int | None, best: Path | None) -> None:
    """Delete the checkpoints of a run that are no longer needed.

    Of the regular checkpoints, the oldest beyond `limit` are deleted, except the best and the last one. Every extra
    checkpoint that is not the last checkpoint is deleted.

    Args:
        folder: the folder of the run.
        limit: the number of regular checkpoints to keep; None keeps all.
        best: the best checkpoint.
    """
    for leftover in folder.glob(f"{_DELETED}*"):  # of a process that was killed while it deleted a checkpoint
        shutil.rmtree(leftover, ignore_errors=True)
    complete = complete_checkpoints(folder)
    regular = [checkpoint for checkpoint in complete if not is_extra(checkpoint)]
    excess = 0 if limit is None else max(0, len(regular) - limit)
    old = [checkpoint for checkpoint in regular[:-1] if checkpoint != best][:excess]
    extra = [path for path in _checkpoint_folders(folder) if is_extra(path) and path not in complete[-1:]]
    for checkpoint in old + extra:
        delete_checkpoint(checkpoint)


def delete_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint, which is renamed first: if the process is killed meanwhile, no checkpoint has lost files.

    A checkpoint that cannot be deleted stays, as a run can go on with it.
    """
    hidden = checkpoint.with_name(_DELETED + checkpoint.name)
    with suppress(OSError):
        checkpoint.rename(hidden)
        shutil.rmtree(hidden)


def delete_incomplete(folder: Path) -> None:
    """Delete checkpoints beyond the last complete one, which could not be written to the end; errors are ignored."""
    last = max(map(step_of, complete_checkpoints(folder)), default=-1)
    for checkpoint in _checkpoint_folders(folder):
        if step_of(checkpoint) > last:
            shutil.rmtree(checkpoint, ignore_errors=True)


@contextmanager
def replaced_model(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, whose files then replace the files of the model in `folder`.

    The model's config is removed first and replaced last: in between, the folder counts as one without a model.
    """
    unfinished = folder / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        files = [file.relative_to(unfinished) for file in unfinished.rglob("*") if file.is_file()]
        (folder / CONFIG_NAME).unlink(missing_ok=True)
        for pattern in _OF_MODEL:
            for old in folder.glob(pattern):
                old.unlink()
        for file in sorted(files, key=lambda file: file.name == CONFIG_NAME):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished / file, folder / file)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _checkpoint_folders(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rpartition("-")[2].isdigit()]
