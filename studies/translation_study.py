# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant study translation`: trains one configuration once for each combination of a position encoding and a seed.

The YAML file is a file for `locant train` with a section `study:`, which lists the position encodings and the seeds.
Each run is an ordinary run of `locant train`, in a folder and a process of its own, so a study that was stopped can be
resumed.
"""

import signal
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from locant.training.errors import InputError, Terminated
from locant.training.inference import EvaluationRow
from locant.training.options.options import find_task, known_options
from locant.training.options.run_config import RunConfig, make_run_config, read_given
from locant.training.options.yaml_sections import Entry, read_sections
from locant.training.run.run_folder import RunFolder
from locant.training.run.training_run import train
from locant.training.tasks.bleu_by_length import bleu_by_length
from locant.training.tasks.registry import TASKS

from .run_process import SECONDS_BETWEEN_LOOKS, RunProcess, signals_kept
from .translation_report import RunResult, write_report

SECTION = "study"
STUDIED = ("position_encoding", "seed")
"""The options whose values the section `study:` lists; apart from them, the runs differ in `output_dir` only."""

# options that a study refuses, with the advice in the message of the error
_OF_ONE_RUN = {
    "push_to_hub": "leave it out, and push the folder of a run with locant push",
    "resume_from_checkpoint": "leave it out; the same command resumes each run from its last checkpoint",
}

TRANSLATIONS_FILE = "test_translations.tsv"


@dataclass(frozen=True)
class StudyRun:
    """One run of a study."""

    position_encoding: str
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return _name(self.position_encoding, self.seed)

    @property
    def folder(self) -> RunFolder:
        """The run's folder; raises `InputError` if the folder holds another run, or other files."""
        return RunFolder(self.config)

    @property
    def translations(self) -> Path:
        """The file with the finished model's translations of the test sentences."""
        return self.folder.path / TRANSLATIONS_FILE


@dataclass(frozen=True)
class TranslationStudy:
    """The folder of a study, and the runs of the study in order.

    Args:
        folder: the folder of the study.
        runs: the runs of each encoding with the first seed, then the runs with the second seed, and so on.
        workers: the number of runs that run at a time.
    """

    folder: Path
    runs: list[StudyRun]
    workers: int


def parse_study(arguments: list[str], workers: int | None = None) -> TranslationStudy:
    """Parse the command line of `locant study translation`, and check every value.

    Args:
        arguments: the arguments after `locant study translation`: the path of the YAML file, and options of
            `locant train`.
        workers: the number of workers; None for 1.

    Raises:
        InputError: no YAML file is given, the file lacks a list of values, an option of a run cannot be used, or the
            command was started in several processes.
    """
    path, given = read_given(arguments, beside=SECTION)
    if path is None:
        raise InputError(
            f"No FILE.yaml is given: give a file for locant train with a section {SECTION}: that lists "
            f"{' and '.join(STUDIED)}."
        )
    if find_task(given) is not TASKS["translation"]:
        raise InputError(f"task is {given['task']!r}, but the study compares translators: leave task out.")
    lists = _read_lists(path, [entry for entry in read_sections(path) if entry.section == SECTION])
    for option in STUDIED:
        if given.get(option) is not None:
            raise InputError(
                f"{option} is given as {given[option]!r}, but the study has a list of its values ({path}): leave one "
                "of the two out."
            )
    for option, advice in _OF_ONE_RUN.items():
        if given.get(option):
            raise InputError(f"{option} cannot be given for a study, because it would apply to each run: {advice}.")
    folder = Path(given.get("output_dir") or known_options(TASKS["translation"])["output_dir"].default)
    runs = []
    for seed, encoding in product(lists["seed"], lists["position_encoding"]):
        own = {"position_encoding": encoding, "seed": seed, "output_dir": str(folder / _name(encoding, seed))}
        runs.append(StudyRun(encoding, seed, make_run_config(given | own)))
    processes = runs[0].config.training.world_size
    if processes > 1:
        raise InputError(
            f"locant study translation was started in {processes} processes, but it starts the processes of its runs "
            "by itself: start it without accelerate launch and torchrun."
        )
    return TranslationStudy(folder, runs, workers or 1)


def run_study(study: TranslationStudy) -> None:
    """Train the runs that are not finished yet, each in a process of its own, and rewrite the report after each run.

    With the option `dry_run`, there is only a dry run of each encoding that has an unfinished run.

    Raises:
        InputError: an option or the data cannot be used, in which case nothing was trained; or a run failed, in which
            case the other running runs have saved a checkpoint.
        Terminated: SIGTERM ended the study, once the running runs had saved a checkpoint.
        KeyboardInterrupt: Ctrl-C ended the study, once the running runs had saved a checkpoint.
    """
    left = [run for run in study.runs if not run.folder.is_finished()]
    _try_out(left)
    if study.runs[0].config.training.dry_run:
        return
    results: dict[str, RunResult] = {}
    _report(study, [run for run in study.runs if run not in left], results)
    with signals_kept() as signals:
        running = _Runs(study, left)
        try:
            while not signals and running.start_more():
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for run in running.take_finished():
                    _report(study, [run], results)
        finally:
            running.stop()
    if signals:
        rest = f"{len(results)} of {len(study.runs)} runs are finished: repeat the command to continue with the others."
        raise Terminated(rest) if signal.SIGTERM in signals else KeyboardInterrupt(rest)


class _Runs:
    """Starts the unfinished runs `left` of a study, at most `study.workers` at a time, and watches the running runs."""

    def __init__(self, study: TranslationStudy, left: list[StudyRun]):
        self._study, self._left = study, deque(left)
        self._running: dict[str, tuple[StudyRun, RunProcess]] = {}
        self._threads = max(1, torch.get_num_threads() // study.workers)
        self._start, self._finished = time.monotonic(), 0

    def start_more(self) -> bool:
        """Start runs until `study.workers` runs are running or none is left to start; return whether any is running."""
        while self._left and len(self._running) < self._study.workers:
            run = self._left.popleft()
            number = len(self._study.runs) - len(self._left)
            run.translations.unlink(missing_ok=True)  # an earlier training with fewer steps may have written this file
            process = RunProcess(run.config, self._threads)
            self._running[run.name] = run, process
            print(f"Run {number} of {len(self._study.runs)}: {run.name}, log {process.log}{self._rest()}", flush=True)
        return bool(self._running)

    def take_finished(self) -> list[StudyRun]:
        """Return the runs that have finished since the last call; raise `InputError` if a run failed."""
        finished = []
        for run, process in list(self._running.values()):
            status = process.status()
            if status is None:
                continue
            del self._running[run.name]
            if status != 0:
                raise InputError(f"The run {run.name} ended: {process.explanation()}")
            finished.append(run)
        self._finished += len(finished)
        return finished

    def stop(self) -> None:
        """Make the process of each running run save a checkpoint and end, and wait until all of them have ended."""
        for _, process in self._running.values():
            process.stop()
        for _, process in self._running.values():
            process.wait()

    def _rest(self) -> str:
        """Return a text with the expected time until all runs have ended; it is empty until a first run has ended."""
        if not self._finished:
            return ""
        unfinished = len(self._left) + len(self._running)
        seconds = (time.monotonic() - self._start) / self._finished * unfinished
        return f", about {tqdm.format_interval(seconds)} left for all runs"


def read_tsv(path: Path) -> list[EvaluationRow]:
    """Read the evaluation rows that `write_tsv` wrote to the file at `path`."""
    _, *lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    rows = (line.split("\t") for line in lines)
    return [EvaluationRow(source, reference, found, float(bleu)) for source, reference, found, bleu in rows]


def _name(position_encoding: str, seed: int) -> str:
    return f"{position_encoding}-seed{seed}"


def _read_lists(path: str, entries: Iterable[Entry]) -> dict[str, list[Any]]:
    """Check the `entries` of the section `study:`, and return a dict from option name to the list of its values."""
    options, lists = known_options(TASKS["translation"]), {}
    for entry in entries:
        where = f"{path}, line {entry.line}"
        if entry.key is None:
            continue
        if entry.key not in STUDIED:
            raise InputError(
                f"{entry.key} is not an option that a study varies ({where}): {SECTION}: lists {' and '.join(STUDIED)}."
            )
        if not isinstance(entry.value, list) or not entry.value:
            raise InputError(
                f"{entry.key} is {entry.value!r} ({where}), but must be a list of one or more values, such as [a, b]."
            )
        values = [options[entry.key].convert(value, where) for value in entry.value]
        if None in values:
            raise InputError(
                f"{entry.key} has null in its list ({where}), but null is not a value of this option: leave null out."
            )
        if len(set(values)) < len(values):
            raise InputError(f"{entry.key} has a value twice in its list ({where}): leave one out.")
        lists[entry.key] = values
    for option in STUDIED:
        if option not in lists:
            raise InputError(f"{path} has no list of {option} under {SECTION}:, so give one, such as {option}: [a, b].")
    return lists


def _try_out(runs: Iterable[StudyRun]) -> None:
    """Do a dry run of the first of `runs` with each encoding, so that errors are found before any run is trained."""
    first: dict[str, StudyRun] = {}
    for run in runs:
        first.setdefault(run.position_encoding, run)
    for run in first.values():
        print(f"Dry run with {run.position_encoding}", flush=True)
        summary = train(make_run_config(run.config.given | {"dry_run": True}))
        if "test" not in summary:
            raise InputError(
                "The study compares translations of the test data, but there is no test data: give test_file."
            )


def _report(study: TranslationStudy, finished: list[StudyRun], results: dict[str, RunResult]) -> None:
    """Add the results of the `finished` runs to the dict `results`, then write the report on all runs in `results`."""
    if not finished:
        return
    for run in finished:
        if not run.translations.is_file():
            raise InputError(
                f"{run.translations} is missing: write it with locant evaluate {run.folder.path} --output "
                f"{run.translations}, and repeat the command."
            )
        by_length = bleu_by_length(read_tsv(run.translations))
        results[run.name] = RunResult(run.position_encoding, run.seed, run.folder.metrics(), by_length)
    in_order = [results[run.name] for run in study.runs if run.name in results]
    report = write_report(study.folder, in_order, planned=len(study.runs))
    print(f"{len(results)} of {len(study.runs)} runs are in {report}", flush=True)
