# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The study of position encodings, which trains and measures small models that differ only in their encoding."""

import csv
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformers import get_linear_schedule_with_warmup

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS, check_position_encoding
from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.stacks import LocantEncoder
from locant.training.errors import InputError
from locant.utils.files import atomic_write, write_csv, write_text

from .position_report import write_report
from .position_tasks import (
    BEGIN,
    END,
    IGNORE,
    ORDER_LENGTH,
    ORDER_VOCABULARY_SIZE,
    PAD,
    LetterTask,
    encode,
    sentence_pairs,
)

OPTIONS_FILE, RESULTS_FILE = "study.json", "results.csv"
PARTS = ("word_order", "length")
FACTORS = (1, 2, 4, 8)  # the part `length` tests its models at these multiples of the trained length

_COLUMNS = ("part", "encoding", "seed", "length", "measure", "accuracy", "seconds")
_MODEL: dict[str, Any] = {
    **{"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128},
    **{"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128},
    **{"norm_position": "pre", "dropout": 0.0, "attn_implementation": "eager"},  # eager attention returns its weights
}
_LEARNING_RATE = 4e-3
_TASK = LetterTask()
_TEST_LETTERS = 16384  # the total number of letters in all test sequences of one length


@dataclasses.dataclass(frozen=True)
class StudySize:
    """The size of the trainings of a study.

    Args:
        order_steps: optimiser steps of a training on word order, with batches of 64 sentences.
        length_steps: optimiser steps of a training on length, with batches of 32 sequences.
        train_length: the length of the longest sequences of a training on length, at least 16; the shortest sequences
            are half as long.

    Raises:
        InputError: `train_length` is too small.
    """

    order_steps: int = 300
    length_steps: int = 1200
    train_length: int = 32

    def __post_init__(self) -> None:
        if self.train_length < 4 * _TASK.offset:
            raise InputError(
                f"train_length is {self.train_length}, and the shortest training sequences are half as long, but the "
                f"task asks for the letter {_TASK.offset} positions before: give at least {4 * _TASK.offset}."
            )


class Training(NamedTuple):
    """The training of one model, identified by the part of the study, the position encoding and the seed."""

    part: str
    encoding: str
    seed: int


class Outcome(NamedTuple):
    """The results of a training: rows of `results.csv`, and in the part `length` also attention weights.

    The attention weights have the shape `(heads, length, length)`.
    """

    rows: list[dict[str, Any]]
    attention: np.ndarray | None = None


def run_study(
    folder: str | os.PathLike[str],
    encodings: Iterable[str] | None = None,
    seeds: Iterable[int] = (0, 1, 2),
    size: StudySize | None = None,
    workers: int = 1,
    show_progress: bool = True,
) -> Path:
    """Run the trainings whose results are not in the folder yet, and write a report on all results in the folder.

    Args:
        folder: the folder for the results; it may hold a study of the same size.
        encodings: the position encodings to train; by default all registered encodings.
        seeds: each encoding is trained once with each seed.
        size: the size of the trainings; by default `StudySize()`.
        workers: the number of worker processes, with one thread each; with 1, the calling process trains. The results
            have the same accuracies for any number. With several workers, an encoding that is not part of Locant must
            be registered in a module that the main program imports, as each worker repeats these imports.
        show_progress: whether to draw a progress bar.

    Returns:
        The report's path.

    Raises:
        InputError: an encoding is not known, or not registered in a worker process; `folder` is a file, or holds a
            study of another size or other files.
    """
    encodings = list(dict.fromkeys(POSITION_ENCODINGS if encodings is None else encodings))
    for name in encodings:
        try:
            check_position_encoding("encodings", name)
        except ValueError as error:
            raise InputError(str(error)) from None
    size = size or StudySize()
    Results(Path(folder), size)  # raises an error about the folder before a lock file is written to it
    with _locked(Path(folder)):
        return _run(Results(Path(folder), size), encodings, seeds, size, workers, show_progress)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder of a study: a second study in the folder would overwrite the results of the first."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"output_dir {folder} is in use by another study: wait for it, or give another output_dir."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _run(
    results: "Results", encodings: list[str], seeds: Iterable[int], size: StudySize, workers: int, show_progress: bool
) -> Path:
    """Run the trainings that `results` lacks, and write the report."""
    asked = [Training(part, name, seed) for seed, name, part in itertools.product(sorted(set(seeds)), encodings, PARTS)]
    todo = [training for training in asked if training not in results.trainings]
    with (
        tqdm(
            desc="trainings",
            total=len(asked),
            initial=len(asked) - len(todo),
            smoothing=0,  # estimate the time left by the mean over all trainings, as the two parts take different times
            disable=not show_progress,
        ) as bar,
        _mapped(todo, size, workers) as outcomes,
    ):
        for training, outcome in zip(todo, outcomes, strict=True):
            results.add(training, outcome)
            bar.set_postfix_str(f"{training.encoding}, seed {training.seed}, {training.part}")
            bar.update()
    return write_report(results.folder, dataclasses.asdict(size), results.rows, _TASK)


class Results:
    """Reads and saves the results of trainings in a folder; the results of a training are either complete or missing.

    Args:
        folder: the folder of the study, which is created if it does not exist.
        size: the size of the study.

    Raises:
        InputError: `folder` is a file, or holds a study of another size or files that are not a study.
    """

    def __init__(self, folder: Path, size: StudySize):
        self.folder = folder
        self._claim(dataclasses.asdict(size))
        self.rows: list[dict[str, Any]] = []
        if (folder / RESULTS_FILE).exists():
            with open(folder / RESULTS_FILE, newline="", encoding="utf-8") as file:
                self.rows = [_typed(row) for row in csv.DictReader(file)]

    def _claim(self, size: dict[str, int]) -> None:
        options = self.folder / OPTIONS_FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"output_dir {self.folder} is a file: give another output_dir.")
        if options.exists():
            kept = json.loads(options.read_text(encoding="utf-8"))
            for name, value in size.items():
                if kept.get(name) != value:
                    raise InputError(
                        f"output_dir {self.folder} holds a study with {name} {kept.get(name)} and not {value}: "
                        f"give another output_dir, or the same {name}."
                    )
        elif any(not path.name.startswith(".") for path in self.folder.glob("*")):
            raise InputError(
                f"output_dir {self.folder} is not empty, and has no {OPTIONS_FILE}, so it holds no study: "
                f"give another output_dir."
            )
        else:
            write_text(options, json.dumps(size, indent=2) + "\n")

    @property
    def trainings(self) -> set[Training]:
        """The trainings whose results are in the folder."""
        return {Training(row["part"], row["encoding"], row["seed"]) for row in self.rows}

    def add(self, training: Training, outcome: Outcome) -> None:
        """Save the results of a training. The rows are written last, so a training with rows has all its results."""
        if outcome.attention is not None:
            with atomic_write(self.folder / "attention" / f"{training.encoding}-{training.seed}.npy") as path:
                np.save(path, outcome.attention)
        self.rows += outcome.rows
        records = ([row[name] for name in _COLUMNS] for row in self.rows)
        write_csv(self.folder / RESULTS_FILE, _COLUMNS, records)


def _typed(row: dict[str, str]) -> dict[str, Any]:
    whole, real = ("seed", "length"), ("accuracy", "seconds")
    return {**row, **{name: int(row[name]) for name in whole}, **{name: float(row[name]) for name in real}}


@contextmanager
def _mapped(trainings: list[Training], size: StudySize, workers: int) -> Iterator[Iterable[Outcome]]:
    """Yield an iterable of the outcomes of `trainings`, in their order; worker processes end with the `with` block."""
    workers = min(workers, len(trainings))
    if workers <= 1:
        yield (train(training, size) for training in trainings)
        return
    # spawn starts new interpreters, as a process cannot safely be forked once torch has threads
    others, context = set(multiprocessing.active_children()), multiprocessing.get_context("spawn")
    # if a worker is killed, a ProcessPoolExecutor raises an error, but a multiprocessing.Pool waits without end
    executor = ProcessPoolExecutor(workers, context, _prepare_worker)
    try:
        yield executor.map(functools.partial(_train_in_worker, size=size), trainings)
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process ended unexpectedly, perhaps because the memory is too small, or because the main program "
            "cannot be imported: repeat the command, with fewer workers, to run the trainings that are left."
        ) from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


def _prepare_worker() -> None:
    """Make a worker process ignore Ctrl-C, and end when the main process ends.

    The main process gets Ctrl-C too, and terminates the workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    os._exit(1)


def _train_in_worker(training: Training, size: StudySize) -> Outcome:
    if training.encoding not in POSITION_ENCODINGS:
        raise InputError(
            f"{training.encoding} is not registered in the worker processes: register it in a module that the main "
            f"program imports, or use 1 worker."
        )
    return train(training, size)


def train(training: Training, size: StudySize) -> Outcome:
    """Train one model and measure it, on one thread and with seeded generators: each call gives the same accuracies."""
    threads, start = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            measured, attention = {"word_order": _word_order, "length": _length}[training.part](training, size)
    finally:
        torch.set_num_threads(threads)
    known = {**training._asdict(), "seconds": round(time.process_time() - start, 1)}
    return Outcome([{**known, **row, "accuracy": round(row["accuracy"], 6)} for row in measured], attention)


def _word_order(training: Training, size: StudySize) -> tuple[list[dict[str, Any]], None]:
    """Train and test an encoder–decoder on word order; its encoder has the position encoding, its decoder has none."""
    config = LocantConfig(
        **_MODEL,
        vocab_size=ORDER_VOCABULARY_SIZE,
        position_encoding=training.encoding,
        decoder_position_encoding="none",
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        eos_token_id=END,
        decoder_start_token_id=BEGIN,
    )
    measured = train_on_word_order(LocantForConditionalGeneration(config), training.seed, size.order_steps)
    return [{"length": ORDER_LENGTH, "measure": name, "accuracy": share} for name, share in measured.items()], None


def train_on_word_order(model: nn.Module, seed: int, steps: int) -> dict[str, float]:
    """Train an encoder–decoder on the training sentences of `sentence_pairs`, and test it on the test sentences.

    Args:
        model: returns the loss and the logits for `input_ids` and `labels`, as the models of transformers do.
        seed: the seed of the batches.
        steps: optimiser steps, with batches of 64 sentences.

    Returns:
        The shares of test sentences (`sentence`) and of test pairs (`pair`) whose words are all predicted correctly.
    """
    (sources, targets), (test_sources, test_targets) = (
        (encode([text for pair in pairs for text in pair.sources]), encode([t for pair in pairs for t in pair.targets]))
        for pairs in sentence_pairs()
    )
    generator = torch.Generator().manual_seed(seed)

    def loss() -> torch.Tensor:
        rows = torch.randint(len(sources), (64,), generator=generator)
        return model(input_ids=sources[rows], labels=targets[rows]).loss

    optimise(model, loss, steps)
    with torch.no_grad():
        # with teacher forcing; if all tokens of a sentence are predicted correctly, greedy search generates them too
        best = model(input_ids=test_sources, labels=test_targets).logits.argmax(-1)
    is_right = (best == test_targets).all(-1).view(-1, 2)
    return {"sentence": is_right.float().mean().item(), "pair": is_right.all(-1).float().mean().item()}


def _length(training: Training, size: StudySize) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Train an encoder with a linear head for each question of the task; test it at multiples of the trained length."""
    longest = max(FACTORS) * size.train_length
    config = LocantConfig(
        **_MODEL,
        vocab_size=_TASK.letters,
        position_encoding=training.encoding,
        max_position_embeddings=longest,
        pad_token_id=None,  # every id is a letter, so no id is padding
        bos_token_id=None,
        eos_token_id=None,
        decoder_start_token_id=None,
    )
    encoder = LocantEncoder(config)
    heads = nn.Linear(config.d_model, len(_TASK.questions) * _TASK.letters)
    generator = torch.Generator().manual_seed(training.seed)

    def scores(ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of the answers, `(questions, batch, length, letters)`, for ids `(batch, length)`."""
        answers = heads(encoder(input_ids=ids).last_hidden_state)
        return answers.unflatten(-1, (len(_TASK.questions), -1)).permute(2, 0, 1, 3)

    def loss() -> torch.Tensor:
        length = int(torch.randint(size.train_length // 2, size.train_length + 1, (), generator=generator))
        ids, answers = _TASK.draw(generator, 32, length)
        losses = [
            cross_entropy(given.flatten(0, 1), expected.flatten(), ignore_index=IGNORE)
            for given, expected in zip(scores(ids), answers, strict=True)
        ]
        return torch.stack(losses).sum()

    model = nn.ModuleList([encoder, heads])
    optimise(model, loss, size.length_steps)
    rows = []
    for factor in FACTORS:
        length = factor * size.train_length
        # the test sequences are the same for every encoding and seed, and are drawn with another seed than in training
        ids, answers = _TASK.draw(torch.Generator().manual_seed(10**6 + length), _TEST_LETTERS // length, length)
        with torch.no_grad():
            is_right = scores(ids).argmax(-1) == answers
        for question, right, expected in zip(_TASK.questions, is_right, answers, strict=True):
            accuracy = right[expected != IGNORE].float().mean().item()
            rows.append({"length": length, "measure": question, "accuracy": accuracy})
    return rows, _attention(encoder, size.train_length)


@torch.no_grad()
def _attention(encoder: LocantEncoder, length: int) -> np.ndarray:
    """Return the attention weights of the first layer, `(heads, length, length)`, for inputs that repeat one letter.

    There is an input for each letter of the alphabet, and the weights are means over these inputs. All tokens of an
    input are equal, so the weights of two keys differ only because of their positions.
    """
    ids = torch.arange(_TASK.letters)[:, None].expand(-1, length)
    return encoder(input_ids=ids, output_attentions=True).attentions[0].mean(0).numpy()


def optimise(model: nn.Module, loss: Callable[[], torch.Tensor], steps: int) -> None:
    """Train `model` with Adam, then set evaluation mode.

    The learning rate rises linearly during the first tenth of the steps, and then falls linearly to 0.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
    model.eval()
