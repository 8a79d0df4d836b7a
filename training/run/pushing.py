# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A Trainer that pushes its run to the Hub with a given model card, and without private files."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils.hub import PushInProgress, hf_api

from locant.utils.files import atomic_write

from ..errors import InputError
from .run_folder import NOT_SHARED, TRAINING_STATE

WriteCard = Callable[[Path, str | None], object]
"""A function that writes the model card into the folder of a run.

The first argument is the folder, and the second argument is the name of the Hub repository, or None.
"""


class PushingTrainer(Trainer):
    """A `Trainer` that pushes the run to the Hub, without the files that match a pattern in `NOT_SHARED`.

    It deletes `training_args.bin` after each save, because this pickle file also holds the access token. The options of
    the run are in `run_config.yaml`.

    Args:
        write_card: the function that writes the model card; if it is None, no card is written.
        kwargs: further arguments of `Trainer`.
    """

    push_in_progress: Any  # transformers does not annotate these two attributes
    hub_model_id: Any

    def __init__(self, *, write_card: WriteCard | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.write_card = write_card

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """Create the repository on the Hub; the Trainer calls this method, without arguments, before training.

        Raises:
            InputError: the Hub cannot be reached, or refuses the repository; or the repository exists and is public,
                although `hub_private_repo` is True.
        """
        mend = "Log in by `hf auth login`, set hub_model_id to USER/NAME, or leave push_to_hub out."
        with _in_one_sentence(f"The run cannot be pushed to {self.args.hub_model_id or self._folder.name}", mend):
            super().init_hf_repo(*args, **kwargs)
            if self.args.hub_private_repo and self.hub_model_id is not None:
                hub: Any = hf_api()
                if not hub.model_info(self.hub_model_id, token=self.args.hub_token).private:
                    raise InputError(
                        f"hub_private_repo is set, but {self.hub_model_id} already exists and is public: make it "
                        f"private on the Hub first, or give another hub_model_id."
                    )

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            (Path(output_dir or self._folder) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def write_model_card(self) -> None:
        """Write the model card into the run's folder, if `write_card` is given; only the main process may call this."""
        if self.write_card is not None:
            self.write_card(self._folder, self.hub_model_id)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Save the model and call `push_folder`, which uploads no private files; the arguments are ignored."""
        self.save_model(_internal_call=True)
        if self.is_world_process_zero():
            self.push_folder()

    def push_folder(self) -> None:
        """Write the model card, and upload the run's folder, which must hold the model.

        Only the main process may call this method.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.write_model_card()
        self._finish_current_push()
        mend = f"The model is in {self._folder}: `locant push {self._folder} {self.hub_model_id}` tries again."
        with _in_one_sentence(f"The run was not pushed to {self.hub_model_id}", mend):
            self._upload(self._folder, "End of training", run_as_future=False)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Copy the model of a checkpoint into the run's folder, and upload the folder while training goes on.

        Nothing is copied or uploaded if `hub_strategy` is `end`, or if another upload is still running and
        `hub_always_push` is not set. If `hub_strategy` is `checkpoint` or `all_checkpoints`, the folder of the
        checkpoint is also uploaded.
        """
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if busy and not self.args.hub_always_push:
            return
        checkpoint = Path(checkpoint_folder)
        _copy_model(checkpoint, self._folder)
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.write_model_card()
        in_steps = self.args.save_strategy == SaveStrategy.STEPS
        moment = f"step {self.state.global_step}" if in_steps else f"epoch {int(self.state.epoch or 0)}"
        message = f"Training in progress, {moment}"
        jobs: list[Any] = [self._upload(self._folder, message, run_as_future=True)]
        if self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            is_last = self.args.hub_strategy == HubStrategy.CHECKPOINT
            name = "last-checkpoint" if is_last else checkpoint.name
            jobs.append(self._upload(checkpoint, f"{message}, checkpoint", path_in_repo=name, run_as_future=True))
        if busy:
            jobs += self.push_in_progress.jobs
        self.push_in_progress = PushInProgress(jobs)  # type: ignore[arg-type]  # its docstring asks for a list

    @property
    def _folder(self) -> Path:
        assert self.args.output_dir is not None  # transformers replaces None by a default
        return Path(self.args.output_dir)

    def _upload(self, folder: Path, commit_message: str, **options: Any) -> Any:
        hub: Any = hf_api()
        return hub.upload_folder(
            repo_id=self.hub_model_id,
            folder_path=folder,
            commit_message=commit_message,
            token=self.args.hub_token,
            revision=self.args.hub_revision,
            ignore_patterns=list(NOT_SHARED),
            **options,
        )


@contextmanager
def _in_one_sentence(what: str, mend: str) -> Iterator[None]:
    """Raise errors of the Hub's client as `InputError` with the message `{what}: {reason of the error}. {mend}`."""
    try:
        yield
    except (HTTPError, HFValidationError, ConnectionError) as error:
        said = error.server_message if isinstance(error, HfHubHTTPError) else None
        reason = " ".join((said or str(error)).split()).rstrip(".")
        raise InputError(f"{what}: {reason}. {mend}") from error


def _copy_model(checkpoint: Path, folder: Path) -> None:
    """Copy the files of a checkpoint to `folder`, except files that only resumed training needs (`TRAINING_STATE`)."""
    for file in checkpoint.iterdir():
        if file.is_file() and not any(file.match(pattern) for pattern in TRAINING_STATE):
            with atomic_write(folder / file.name) as path:
                shutil.copyfile(file, path)
