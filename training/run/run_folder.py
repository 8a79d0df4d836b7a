# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The folder of a run: which run it belongs to, its checkpoints, and whether the run is finished."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from locant.utils.files import atomic_write, write_text
from locant.utils.run_files import METRICS_FILE, RUN_CONFIG_FILE

from ..errors import InputError
from ..options.options import TASK_OPTION, find_task, known_options
from ..options.run_config import RunConfig
from .ownership import OWNER_FILE, owned

LOCK_FILE = ".lock"
_EXTRA_FILE = "extra_checkpoint"
UNLOGGED_LOSS_FILE = "unlogged_loss_{}.json"
"""The name of the file in a checkpoint that has the sum of the losses since the last log entry.

The name contains the number of the process.
"""

STREAM_PLACE_FILE = "stream_place_{}.json"
"""The name of the file in a checkpoint that has the `Place` of a process in the streamed data.

The name contains the number of the process.
"""

TRAINING_STATE = (
    *("optimizer*", "scheduler.pt", "scaler.pt", "rng_state*.pth", TRAINER_STATE_NAME),
    *(UNLOGGED_LOSS_FILE.format("*"), STREAM_PLACE_FILE.format("*"), _EXTRA_FILE),
)
"""Patterns of the files of a checkpoint that only resumed training needs, such as the state of the optimiser."""

NOT_SHARED = (
    *("_*", ".*", f"{PREFIX_CHECKPOINT_DIR}-*"),
    *("training_args.bin", RUN_CONFIG_FILE),  # these contain access tokens or local paths
    *("*.tsv", "report.md", "report.html"),  # these contain texts of the data, which have their own licence
)
"""Patterns of files that are not uploaded when a run is pushed: they are private, or of no use on the Hub."""

MAY_CHANGE = {
    # the length of training
    *("num_train_epochs", "max_steps", "early_stopping_patience"),
    # averaging, generation and test data of the final model
    *("average_checkpoints", "num_beams", "length_penalty", "max_new_tokens", "test_file"),
    # logging, saving, pushing, and the path of the folder
    *("logging_steps", "logging_first_step", "disable_tqdm", "log_level", "report_to", "run_name"),
    *("save_total_limit", "output_dir", "resume_from_checkpoint", "dry_run"),
    *("push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo", "hub_token", "hub_revision"),
    *("hub_license", "hub_always_push"),
    # the size of evaluation batches, the numbers of worker processes, the devices
    *("per_device_eval_batch_size", "preprocessing_num_workers", "dataloader_num_workers", "use_cpu", "fsdp"),
}
"""Options that may differ when a run is resumed. If any other option differs, the folder holds a different run."""


class RunFolder:
    """The folder of a run, `run.training.output_dir`, with its options, metrics and checkpoints.

    Args:
        run: the configuration of the run.

    Raises:
        InputError: `output_dir` is a file, or a folder that holds a different run, files that belong to no run, or
            the model to be fine-tuned; or `resume_from_checkpoint` is not a complete checkpoint, or is
            older than the last checkpoint in `output_dir`.
    """

    def __init__(self, run: RunConfig):
        self.path = Path(run.training.output_dir)
        self._run = run
        self._yaml = run.to_yaml()
        self._kept = self.path / RUN_CONFIG_FILE
        self._default_lengths = {name: getattr(type(run.training), name) for name in ("max_steps", "num_train_epochs")}
        given = run.training.resume_from_checkpoint
        self._given_checkpoint = None if given is None else Path(given)
        self._check()

    def _check(self) -> None:
        if self._given_checkpoint is not None and not is_complete(self._given_checkpoint):
            raise InputError(
                f"resume_from_checkpoint {self._given_checkpoint} is not the folder of a complete checkpoint: give "
                "such a folder, or leave the option out to resume from the last checkpoint of the run."
            )
        given = None if self._given_checkpoint is None else self._given_checkpoint.resolve()
        last = self.checkpoints()[-1:]
        if given is not None and last and given.parent == self.path.resolve() and given.name != last[0].name:
            raise InputError(
                f"resume_from_checkpoint {self._given_checkpoint} is older than {last[0]} of the same run: leave the "
                "option out to go on from the last checkpoint, or give another output_dir to begin at the older one."
            )
        trained = self._run.model.model_name_or_path
        if trained is not None and Path(trained).is_dir() and Path(trained).resolve() == self.path.resolve():
            raise InputError(
                f"output_dir {self.path} is the folder of the model that is to be fine-tuned: give another output_dir."
            )
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"output_dir {self.path} is a file: give another output_dir.")
        if not self._kept.exists():
            names = [path.name for path in self.path.iterdir()] if self.path.exists() else []
            # a process that is killed before or during `claim` leaves only these files
            if not all(name.endswith((RUN_CONFIG_FILE, METRICS_FILE, LOCK_FILE, OWNER_FILE)) for name in names):
                raise InputError(
                    f"output_dir {self.path} is not empty, and has no {RUN_CONFIG_FILE}, so it holds no run: "
                    f"give another output_dir."
                )
            return
        asked, kept = _flat(self._yaml), _flat(self._kept.read_text(encoding="utf-8"))
        options = known_options(find_task(self._run.given))
        names = sorted((asked.keys() | kept.keys()) - MAY_CHANGE, key=lambda name: (name != TASK_OPTION.name, name))
        for name in names:
            # the defaults of model fields are not known here, as a preset may set them
            known = name in options and options[name].section != "model"
            default = options[name].default if known else None
            now, then = asked.get(name, default), kept.get(name, default)
            if now != then:
                raise InputError(
                    f"output_dir {self.path} holds a different run, with {name} {then!r} and not {now!r}: "
                    f"give another output_dir, or the same {name}."
                )

    def check_data(self, identity: dict[str, str]) -> None:
        """Raise `InputError` if the data have changed since the run in the folder was started.

        `identity` is a dict from the name of a split to the fingerprint of its rows, the result of `data_identity`.
        """
        kept = self.metrics().get("data_identity", identity)
        for split in identity:
            if kept.get(split) != identity[split]:
                raise InputError(
                    f"output_dir {self.path} holds a run whose {split} data have changed since the run was started: "
                    f"give another output_dir, or the data with which the run was started."
                )

    def check_processes(self, processes: int) -> None:
        """Raise `InputError` if the checkpoint to resume from was saved by a run of another number of processes.

        The number of batches in an epoch depends on the number of processes. So for another number of processes, the
        step of a checkpoint does not say which rows were used.
        """
        last = self.last_checkpoint()
        if last is None:
            return
        file = last.parent / METRICS_FILE
        metrics = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        kept = metrics.get("processes", processes)
        if kept != processes:
            raise InputError(
                f"{last} is a checkpoint of {kept} processes, but this command has {processes}: use the same number of "
                f"processes, or begin another run from the weights of the checkpoint, with --model_name_or_path {last} "
                "and another output_dir."
            )

    def claim(self, data_identity: dict[str, str]) -> None:
        """Write the run's options and `data_identity` into the folder, which then belongs to this unfinished run."""
        for leftover in self.path.glob(".[0-9]*.*"):  # a temporary file of a killed process
            leftover.unlink()
        self.write_metrics(self.metrics() | {"finished": False, "data_identity": data_identity})
        write_text(self._kept, self._yaml)
        for checkpoint in self.checkpoints()[-1:]:
            self._point_to_best(checkpoint / TRAINER_STATE_NAME)

    def _point_to_best(self, state_file: Path) -> None:
        """Correct the path of the best checkpoint in the Trainer's state file, if the folder of the run was moved."""
        state = TrainerState.load_from_json(str(state_file))
        best = self.path / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if best.is_dir() and state.best_model_checkpoint != str(best):
            state.best_model_checkpoint = str(best)
            with atomic_write(state_file) as path:
                state.save_to_json(str(path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder until the end of the `with` block.

        Raises:
            InputError: another process, on this machine or on another machine, trains in the folder; or the folder
                holds a different run, which another process trained since this object was made.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK_FILE)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"output_dir {self.path} is in use by another process: wait for it, or give another output_dir."
            ) from None
        try:
            self._check()
            with owned(self.path):
                yield
        finally:
            with suppress(OSError):  # the disk may have become read-only
                (self.path / LOCK_FILE).unlink(missing_ok=True)
            lock.release()

    def is_finished(self) -> bool:
        """Whether the folder holds a finished run with the same options as this run.

        The finished run may have more steps or epochs than this run, but not fewer.
        """
        if not self._kept.exists() or not self.metrics().get("finished"):
            return False
        asked, kept = _flat(self._yaml), _flat(self._kept.read_text(encoding="utf-8"))
        for options in (asked, kept):
            options.pop("dry_run", None)
        lengths = [
            tuple(options.pop(name, default) for name, default in self._default_lengths.items())
            for options in (asked, kept)
        ]
        (steps, epochs), (kept_steps, kept_epochs) = lengths
        is_covered = 0 < steps <= kept_steps or (steps == kept_steps == -1 and epochs <= kept_epochs)
        return asked == kept and is_covered

    def metrics(self) -> dict[str, Any]:
        """Return the content of `metrics.json`; an empty dictionary if there is no such file yet."""
        file = self.path / METRICS_FILE
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Replace the content of `metrics.json` by `metrics`."""
        write_text(self.path / METRICS_FILE, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")

    def checkpoints(self) -> list[Path]:
        """Return the complete checkpoints in this folder, ordered by training step."""
        return complete_checkpoints(self.path)

    def regular_checkpoints(self) -> list[Path]:
        """Return the complete checkpoints that the run would also have saved if it had never been terminated."""
        return [checkpoint for checkpoint in self.checkpoints() if not is_extra(checkpoint)]

    def last_checkpoint(self) -> Path | None:
        """Return the checkpoint to resume from, or None: the last complete one, or else `resume_from_checkpoint`.

        If the run itself has saved checkpoints since it began at a checkpoint of another run, it resumes from its own.
        """
        checkpoints = self.checkpoints()
        return checkpoints[-1] if checkpoints else self._given_checkpoint


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in the folder of a run, ordered by training step.

    An incomplete checkpoint, which a killed process left, is skipped; resumed training overwrites it at the same step.
    """
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if is_complete(path)]
    return sorted(found, key=step_of)


def is_complete(checkpoint: Path) -> bool:
    """Whether `checkpoint` has weights and a readable state file, which the Trainer writes last."""
    if not any((checkpoint / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)):
        return False
    try:
        TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    except (OSError, ValueError, TypeError):
        return False
    return True


def is_extra(checkpoint: Path) -> bool:
    """Whether `mark_extra` has marked a checkpoint as one that was saved only because of SIGTERM."""
    return (checkpoint / _EXTRA_FILE).exists()


def mark_extra(checkpoint: Path, extra: bool) -> None:
    """Mark a checkpoint as one that was saved only because of SIGTERM; if `extra` is False, remove the mark.

    A marked checkpoint is not averaged, does not count for `save_total_limit`, and is deleted at the next save.
    """
    if extra:
        (checkpoint / _EXTRA_FILE).touch()
    else:
        (checkpoint / _EXTRA_FILE).unlink(missing_ok=True)


def holds_unfinished_run(folder: Path) -> bool:
    """Whether `folder` is the folder of a run, but has no complete model yet, apart from the models in checkpoints."""
    return (folder / RUN_CONFIG_FILE).is_file() and not (folder / CONFIG_NAME).is_file()


def explain_stop(folder: Path) -> str:
    """Return a sentence that says how far an interrupted or terminated run is, and how to go on with it."""
    if not (folder / RUN_CONFIG_FILE).is_file():
        return "the run had not begun to train: repeat the command of the run to start it again."
    metrics = folder / METRICS_FILE
    if metrics.is_file() and json.loads(metrics.read_text(encoding="utf-8")).get("finished"):
        return f"{folder} holds a finished run, whose model can be used."
    return explain_unfinished(folder)


def explain_unfinished(folder: Path) -> str:
    """Return a sentence that says how far an unfinished run is, and how to resume it.

    If the run has checkpoints, the sentence also names the checkpoint that can be used as a model until the run ends.
    """
    checkpoints = complete_checkpoints(folder)
    if not checkpoints:
        return (
            f"{folder} holds an unfinished run without a checkpoint: repeat the command of the run to start it again."
        )
    last = checkpoints[-1]
    state = TrainerState.load_from_json(str(last / TRAINER_STATE_NAME))
    best = folder / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
    usable = f"{best} (the best so far)" if best in checkpoints else f"{last} (the last one)"
    return (
        f"{folder} holds an unfinished run, whose last checkpoint is at step {step_of(last):,} of {state.max_steps:,}: "
        f"repeat the command of the run to resume from this checkpoint; until then, {usable} can be used as a model."
    )


def planned_steps(checkpoint: Path) -> int:
    """Return the total number of training steps that the run was planned for when the checkpoint was saved."""
    return TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).max_steps


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step at which a checkpoint was saved, from the name of its folder."""
    return int(checkpoint.name.rpartition("-")[2])


def _flat(text: str) -> dict[str, Any]:
    """Convert the YAML text of a run's options to one dict that has `task` and the options of all sections."""
    sections = yaml.safe_load(text) or {}
    task = sections.pop(TASK_OPTION.name, TASK_OPTION.default)
    options = {name: value for section in sections.values() for name, value in (section or {}).items()}
    return {TASK_OPTION.name: task, **options}
