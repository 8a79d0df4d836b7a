# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant search`: runs the trials of a hyperparameter search, each as a run of `locant train` in a process of its own.

The process of the search asks Optuna for trials, starts a process for each trial, reads the scores of the trials and
tells Optuna the results. No other process writes to Optuna's study. If a trial is marked as running in the study when
the search starts, the trial was interrupted; interrupted trials are resumed before other trials start.
"""

import math
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState
from tqdm.auto import tqdm

from locant.training.errors import InputError, Terminated

from .run_process import SECONDS_BETWEEN_LOOKS, RunProcess, signals_kept
from .search_config import Search
from .search_report import write_report
from .search_results import describe_values, folder_name, results_of
from .search_storage import JOURNAL_FILE, check_folder, locked, open_study, sampler_of

# A trial whose error message contains one of these texts is resumed later, and does not count as failed. The first text
# is in messages on faults of the system, such as a full disk; the second is in messages on a folder that is in use.
_TO_REPEAT = ("repeat the command of the run", " is in use by ")


def run_search(search: Search) -> Path | None:
    """Run the trials that are not finished yet, and write the report, which is rewritten after each trial.

    Returns:
        The path of the report; None for a dry run.

    Raises:
        InputError: the folder, an option or the data cannot be used, in which case no trial was run; or some trials
            were stopped from outside, for example by a signal or a full disk, and are to be resumed.
        Terminated: SIGTERM ended the search, once the running trials had saved a checkpoint.
        KeyboardInterrupt: Ctrl-C ended the search, once the running trials had saved a checkpoint.
    """
    check_folder(search.folder)
    is_dry_run = search.given.get("dry_run", False)
    if is_dry_run or not (search.folder / JOURNAL_FILE).exists():
        try_out(search)
    if is_dry_run:
        return None
    with locked(search.folder), signals_kept() as signals:
        running = _Trials(search, open_study(search))
        try:
            while not signals and running.start_more():
                time.sleep(SECONDS_BETWEEN_LOOKS)
                running.look()
        finally:
            running.stop()
        report = running.report()
    left = running.describe_left()
    if signals:
        raise Terminated(left) if signal.SIGTERM in signals else KeyboardInterrupt(left)
    if running.stopped:
        raise InputError(left)
    return report


def try_out(search: Search) -> None:
    """Do a dry run of the first trial in another process, so that the memory of the dry run is free afterwards.

    Raises:
        InputError: an option or the data cannot be used.
    """
    print(f"Dry run of the first of {len(search.planned)} trials", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trial.yaml"
        file.write_text(search.first_config(Path(folder) / "run").to_yaml(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "locant", "train", str(file), "--dry_run"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        last = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
        raise InputError(last.partition("error: ")[2] or f"The dry run of the first trial failed: {last}.")


@dataclass
class _RunningTrial:
    """A trial whose process runs.

    Args:
        trial: the trial of Optuna.
        run: the process of the trial.
        reported: the number of evaluations whose scores were read; the finite scores were reported to Optuna.
        is_pruned: whether the trial was pruned; its process is then told to stop.
    """

    trial: optuna.Trial
    run: RunProcess
    reported: int
    is_pruned: bool = False


class _Trials:
    """Starts the trials of a search, watches the running trials, and records their results in Optuna's study.

    `stopped` is a dict from the number of each trial that was stopped from outside of the search to the reason.
    """

    def __init__(self, search: Search, study: optuna.Study):
        self.search, self.study = search, study
        self.stopped: dict[int, str] = {}
        self._running: list[_RunningTrial] = []
        self._interrupted = deque(study.get_trials(states=(TrialState.RUNNING,)))
        self._threads = max(1, torch.get_num_threads() // search.workers)
        ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
        has_bar = sys.stderr.isatty() and not search.given.get("disable_tqdm")
        self._bar = tqdm(desc="trials", total=len(search.planned), initial=len(ended), disable=not has_bar, smoothing=0)

    def start_more(self) -> bool:
        """Start trials until `search.workers` trials run or none is left to start; return whether any trial runs."""
        while len(self._running) < self.search.workers and (trial := self._next()) is not None:
            self._start(trial)
        return bool(self._running)

    def look(self) -> None:
        """Report new evaluations to Optuna, stop trials that Optuna prunes, and record the trials that have ended."""
        for running in list(self._running):
            status = running.run.status()
            self._report_evaluations(running)
            if status is not None:
                self._running.remove(running)
                self._end(running, status)
            elif not running.is_pruned and running.trial.should_prune():
                # the study has the result before the process is stopped, so a pruned trial is never resumed
                self.study.tell(running.trial, state=TrialState.PRUNED)
                running.is_pruned = True
                running.run.stop()

    def stop(self) -> None:
        """Make the process of each running trial save a checkpoint and end, and wait until all of them have ended."""
        for running in self._running:
            running.run.stop()
        for running in self._running:
            running.run.wait()
        self._bar.close()

    def report(self) -> Path:
        """Write the report with its pictures, and return its path."""
        return write_report(self.search, results_of(self.study), with_pictures=True)

    def describe_left(self) -> str:
        """Return a sentence: how many trials have ended, which trials were stopped and why, and how to continue."""
        left = self.study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
        total = len(self.search.planned)
        sentence = f"{total - len(left)} of {total} trials have ended"
        for number, reason in self.stopped.items():
            sentence += f"; trial {folder_name(number)} was stopped ({reason.rstrip('.')})"
        return f"{sentence}: repeat the command of the search to continue with the remaining trials."

    def _next(self) -> optuna.Trial | None:
        """Return the trial to start next: an interrupted trial if there is one, else a trial that has not begun.

        Returns None if no trial is interrupted and all planned trials have begun.
        """
        if self._interrupted:
            number = self._interrupted[0].number
            self.study.sampler = sampler_of(self.search, number)
            return optuna.Trial(self.study, self._interrupted.popleft()._trial_id)
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting:
            return None
        self.study.sampler = sampler_of(self.search, waiting[0].number)
        return self.study.ask()

    def _start(self, trial: optuna.Trial) -> None:
        # for an interrupted trial, Optuna returns the values that it drew when the trial first began
        values = {hyperparameter.name: hyperparameter.suggest(trial) for hyperparameter in self.search.space}
        seed = self.search.planned[trial.number].seed
        trial.set_user_attr("seed", seed)
        folder = self.search.folder / "trials" / folder_name(trial.number)
        try:
            run = RunProcess(self.search.config_of(values, seed, folder), self._threads)
        except InputError as error:
            self._fail(trial, str(error))
            return
        # the number of the last reported evaluation: `intermediate_values` lacks evaluations without a finite score
        reported = max(self._frozen(trial).intermediate_values, default=0)
        self._running.append(_RunningTrial(trial, run, reported))

    def _report_evaluations(self, running: _RunningTrial) -> None:
        if running.is_pruned:
            return
        for record in running.run.folder.metrics().get("epochs", [])[running.reported :]:
            running.reported += 1
            score = record.get(f"validation_{self.search.metric}")
            if score is not None and math.isfinite(score):
                running.trial.report(score, running.reported)

    def _end(self, running: _RunningTrial, status: int) -> None:
        trial, run = running.trial, running.run
        if running.is_pruned:
            self._say(trial, f"pruned after {running.reported} evaluations")
        elif status == 0:
            self._complete(trial, run.folder.metrics())
            return
        else:
            reason = run.explanation()
            # after SIGINT or SIGTERM, the exit status of `locant train` is 130 or 143; after another signal, negative
            if status < 0 or status in (130, 143) or any(part in reason for part in _TO_REPEAT):
                self.stopped[trial.number] = reason
                tqdm.write(f"trial {folder_name(trial.number)} was stopped: {reason}")
                return
            self._fail(trial, reason)

    def _complete(self, trial: optuna.Trial, metrics: dict[str, Any]) -> None:
        score = metrics["validation"].get(self.search.metric)
        if score is None or not math.isfinite(score):
            self._fail(trial, f"the {self.search.label} of the finished model is {score}.")
            return
        by_step = {record["step"]: record for record in metrics.get("epochs", [])}
        best = by_step.get(metrics["best_step"], next(reversed(by_step.values()), {}))
        for name, value in (
            *((name, best.get(name)) for name in ("train_loss", "validation_loss")),
            *((name, metrics.get(name)) for name in ("best_step", "parameters", "training_seconds")),
        ):
            trial.set_user_attr(name, value)
        self.study.tell(trial, score)
        minutes = (metrics.get("training_seconds") or 0) / 60
        leader = f"best: trial {folder_name(self.study.best_trial.number)}, {self.study.best_value:.4g}"
        self._say(trial, f"{self.search.label} {score:.4g}, {minutes:.1f} min; {leader}")

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("error", reason)
        self.study.tell(trial, state=TrialState.FAIL)
        self._say(trial, f"failed: {reason}")

    def _say(self, trial: optuna.Trial, text: str) -> None:
        """Print a line about a trial that has ended, and rewrite the report."""
        results = results_of(self.study)
        values = describe_values(results[trial.number].values)
        self._bar.update()
        ended = f"{sum(result.has_ended for result in results)} of {len(results)} trials"
        tqdm.write(f"{ended}: trial {folder_name(trial.number)} ({values}) {text}")
        sys.stdout.flush()
        write_report(self.search, results)

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]
