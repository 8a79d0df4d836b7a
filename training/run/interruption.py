# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Ends a run on the signal SIGTERM. During training, the run finishes its step and saves a checkpoint first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from ..errors import Terminated


class Termination:
    """Handles SIGTERM in a run: `handled` raises `Terminated` at once, `deferred` at the end of a `with` block.

    `is_requested` says whether SIGTERM has come.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._is_deferred = False
        self._process = os.getpid()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Raise `Terminated` when the first SIGTERM comes in the `with` block, unless `deferred` delays the error.

        At the end of the block, the previous handler of SIGTERM is restored. Only the main thread can handle signals;
        in another thread, this function changes nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def deferred(self, has_other_processes: bool) -> Iterator[None]:
        """When SIGTERM comes in the `with` block, only set `is_requested`; raise `Terminated` at the end of the block.

        Args:
            has_other_processes: whether the run has several processes. If so, and SIGTERM has come, an error in the
                block is replaced by `Terminated`, as the signal may have ended a process that this process waits for.
        """
        self._is_deferred = True
        try:
            yield
        except Exception as error:
            if self.is_requested and has_other_processes:
                raise Terminated from error
            raise
        finally:
            self._is_deferred = False
        if self.is_requested:
            raise Terminated

    def _receive(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:  # this is a forked worker process, which has inherited the signal handler
            os._exit(128 + number)
        is_first, self.is_requested = not self.is_requested, True
        if is_first and not self._is_deferred:
            raise Terminated


def survive_first_sigterm(is_training: torch.Tensor, worker: int) -> None:
    """Make this worker process of a DataLoader survive the first SIGTERM if it comes while the parent process trains.

    SIGTERM may be sent to all processes of a run, but a process that trains needs its workers until the checkpoint is
    saved. At any other time, SIGTERM ends the worker: a parent process that ends sends this signal to its workers.

    Args:
        is_training: a number in shared memory; it is not 0 while the parent process trains.
        worker: the number of the worker.
    """

    def receive(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not is_training.item():
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, receive)


class SaveOnTermination(TrainerCallback):
    """When SIGTERM has come, saves a checkpoint at the end of the step, and raises `Terminated`.

    At the end of an epoch, the checkpoint is saved after the evaluation, as a resumed run would begin with the next
    epoch, and skip this evaluation. In a run of several processes, all processes save if one of them has received
    SIGTERM before the end of the step.

    Args:
        termination: its attribute `is_requested` says whether SIGTERM has come.
        trainer: the `RecipeTrainer`; its attribute `saves_extra_checkpoint` is set to True if the run would not save a
            checkpoint at this step without SIGTERM.
    """

    def __init__(self, termination: Termination, trainer: Any):
        self.termination = termination
        self.trainer = trainer
        self._is_agreed = False
        self._may_end = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """If SIGTERM has come, ask for a checkpoint, unless the step is the last one of an epoch or of the run."""
        self._agree()
        # in a streamed run, `state.epoch` counts passes over the data, and differs between processes
        is_epoch_end = self.trainer.stream_loader is None and float(state.epoch).is_integer()
        self._may_end = not (is_epoch_end or state.global_step >= state.max_steps)
        if self._is_agreed and self._may_end:
            self._ask_for_checkpoint(args, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """If SIGTERM has come, ask for a checkpoint after the last step of an epoch."""
        self._may_end = True
        if self._is_agreed:
            self._ask_for_checkpoint(args, control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """If SIGTERM has come and `_may_end` is true, raise `Terminated` once all processes have saved a checkpoint."""
        self._agree()
        if self._is_agreed and self._may_end:
            self.trainer.accelerator.wait_for_everyone()
            raise Terminated

    def _ask_for_checkpoint(self, args: Any, control: Any) -> None:
        if control.should_evaluate and args.save_strategy == SaveStrategy.BEST:
            return  # the Trainer saves a checkpoint if the evaluation is the best; if not, the next step asks for one
        self.trainer.saves_extra_checkpoint = not control.should_save
        control.should_save = True

    def _agree(self) -> None:
        """Set `_is_agreed` to True if one of the processes has received SIGTERM."""
        requested = self.termination.is_requested
        accelerator = self.trainer.accelerator
        if accelerator.num_processes > 1 and not self._is_agreed:
            if requested:
                accelerator.set_trigger()
            requested = accelerator.check_trigger()
        self._is_agreed = self._is_agreed or requested
