# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Functions that save and delete checkpoints and models.

If the process is killed while it saves or deletes files, a later process does not take a partly saved or partly deleted
checkpoint or model for a complete one.
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
"""Patterns of the files of an older model that are deleted, as the new model may have files of other names."""


def begin_checkpoint(checkpoint: Path, extra: bool) -> None:
    """Make the folder of a checkpoint that is about to be saved, and mark it as incomplete.

    Args:
        checkpoint: the folder, into which the Trainer then writes the files of the checkpoint, its state file last.
        extra: whether the checkpoint is saved only because SIGTERM ends the run. If the folder already holds a complete
            checkpoint that is not extra, the new checkpoint is not extra either.
    """
    extra = extra and not (is_complete(checkpoint) and not is_extra(checkpoint))
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / TRAINER_STATE_NAME).unlink(missing_ok=True)
    mark_extra(checkpoint, extra)


def rotate(folder: Path, limit: int | None, best: Path | None) -> None:
    """Delete the checkpoints of a run that are no longer needed.

    An extra checkpoint was saved only because of SIGTERM; it is deleted unless it is the last complete checkpoint. All
    other complete checkpoints are regular: if there are more than `limit` of them, the oldest are deleted, but neither
    the best nor the last regular checkpoint.

    Args:
        folder: the folder of the run.
        limit: the number of regular checkpoints to keep; None keeps all.
        best: the best checkpoint; None if it is not known.
    """
    for leftover in folder.glob(f"{_DELETED}*"):  # left by a process that was killed while it deleted a checkpoint
        shutil.rmtree(leftover, ignore_errors=True)
    complete = complete_checkpoints(folder)
    regular = [checkpoint for checkpoint in complete if not is_extra(checkpoint)]
    excess = 0 if limit is None else max(0, len(regular) - limit)
    old = [checkpoint for checkpoint in regular[:-1] if checkpoint != best][:excess]
    extra = [path for path in _checkpoint_folders(folder) if is_extra(path) and path not in complete[-1:]]
    for checkpoint in old + extra:
        delete_checkpoint(checkpoint)


def delete_checkpoint(checkpoint: Path) -> None:
    """Rename a checkpoint, and then delete it, so that no checkpoint lacks files if the process is killed meanwhile.

    Errors are ignored, as a run can go on although a checkpoint was not deleted.
    """
    hidden = checkpoint.with_name(_DELETED + checkpoint.name)
    with suppress(OSError):
        checkpoint.rename(hidden)
        shutil.rmtree(hidden)


def delete_incomplete(folder: Path) -> None:
    """Delete the incomplete checkpoints that come after the last complete checkpoint; errors are ignored."""
    last = max(map(step_of, complete_checkpoints(folder)), default=-1)
    for checkpoint in _checkpoint_folders(folder):
        if step_of(checkpoint) > last:
            shutil.rmtree(checkpoint, ignore_errors=True)


@contextmanager
def replaced_model(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; at the end of the `with` block, its files replace the files of the model in `folder`.

    The model's config is removed first and replaced last: in between, the folder counts as a folder without a model.
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
