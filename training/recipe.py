# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a task brings to `locant train` and `locant evaluate`: a `Recipe`. All else is the same for every task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import AutoTokenizer, EvalPrediction, PreTrainedModel

from .batching import TrainingRows
from .config_parser import RunConfig
from .errors import InputError
from .row_checks import copy_warnings
from .tables import Layout, load_files, load_splits, table_of
from .trainer import RecipeTrainer


@dataclass
class Prepared:
    """What training works on.

    Args:
        rows: the splits as they were read.
        encoded: the splits as numbers, training rows that cannot be used left out.
        processor: tokenizer, image processor or both, saved with the model.
        summary: how much there is, as `metrics.json` keeps it under `data`.
    """

    rows: DatasetDict
    encoded: DatasetDict
    processor: Any
    summary: dict[str, Any]


@dataclass
class TrainerInputs:
    """What the Trainer gets beside model and arguments; see `RecipeTrainer`."""

    train_dataset: TrainingRows
    train_lengths: np.ndarray
    eval_dataset: Dataset
    data_collator: Callable[[list[Any]], Any]
    compute_metrics: Callable[[EvalPrediction], dict[str, float]]


class Measured(NamedTuple):
    """A finished model on a split: its metrics, and a row of the same kind for each row of the split."""

    metrics: dict[str, Any]
    predictions: list[Any]


class Line(NamedTuple):
    """One metric as people read it: its name, its value, and what is to be known about it."""

    name: str
    value: str
    note: str = ""


class Recipe(ABC):
    """One task, from rows to a measured model.

    The run calls the methods in the order in which they stand here. None of them writes a file.

    Args:
        data: the section `data:`.
        seed: cuts the validation rows, where there are none.
    """

    auto_class: ClassVar[Any]
    """The Auto class of the task's models."""
    processor_class: ClassVar[Any] = AutoTokenizer
    """The Auto class of what is saved beside them."""
    trainer_class: ClassVar[type[RecipeTrainer]]
    predictions_name: ClassVar[str] = "predictions"
    """What the file with the predictions for a split is called, after the split."""

    def __init__(self, data: Any, seed: int):
        self.data = data
        self.seed = seed
        self.table = "data"  # the file or dataset of the rows that `measure` gets, for messages

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """The columns of a row."""

    def load(self) -> DatasetDict:
        """The rows of each split."""
        return load_splits(self.layout, **self.data.sources, seed=self.seed)

    def load_split(self, split: str) -> Dataset:
        """The rows of one split; `InputError` if the data do not have this split.

        A test file is read without the other splits, so that a finished model can be measured on a machine without its
        training data.
        """
        self.table = table_of(self.data, split)
        if split == "test" and self.data.test_file is not None:
            return load_files(self.data.test_file, split, self.layout)
        splits = self.load()
        if split not in splits:
            raise InputError(f"There are no {split} data: give --{split}_file, or another --split.")
        return splits[split]

    def warnings(self, rows: DatasetDict) -> list[str]:
        """Warnings if the rows may come from the wrong files, a sentence for each warning."""
        return copy_warnings(rows, list(self.layout.features))

    @abstractmethod
    def build_processor(self, run: RunConfig, train: Dataset, name: str | None) -> Any:
        """The processor called `name` (a trained model's or a checkpoint's), or else the one that `run` asks for."""

    @abstractmethod
    def encode(self, rows: DatasetDict, processor: Any) -> Prepared:
        """Every split as numbers, checked and counted."""

    @abstractmethod
    def describe(self, summary: Mapping[str, Any]) -> list[str]:
        """The summary in words, a line each."""

    def config_fields(self, prepared: Prepared) -> dict[str, Any]:
        """Fields of a new model's config that follow from the data, such as `vocab_size`."""
        return {}

    def head_fields(self, prepared: Prepared) -> dict[str, Any]:
        """Fields that follow from the data even where a trained model is fine-tuned, such as its labels."""
        return {}

    def adapt(self, model: PreTrainedModel, run: RunConfig) -> None:  # noqa: B027 (most tasks need nothing)
        """Set what is saved with a new or a trained model besides its config, such as how it generates."""

    def check(self, model: PreTrainedModel, prepared: Prepared) -> None:  # noqa: B027
        """Raise `InputError` where the data do not fit the model."""

    @abstractmethod
    def trainer_inputs(self, run: RunConfig, prepared: Prepared, model: PreTrainedModel) -> TrainerInputs:
        """What the Trainer trains and evaluates on."""

    @abstractmethod
    def measure(
        self,
        model: PreTrainedModel,
        processor: Any,
        rows: Dataset,
        *,
        batch_size: int,
        show_progress: bool,
        **search: Any,
    ) -> Measured:
        """Measure a finished model, in evaluation mode, on one split as `load` gives it, no row left out.

        `search` is empty but for models that generate: how they do it, where it is not as saved with them.
        """

    @abstractmethod
    def lines(self, metrics: Mapping[str, Any]) -> list[Line]:
        """The metrics of `measure`, the most telling first."""

    def details(self, metrics: Mapping[str, Any]) -> list[Line]:
        """Metrics of parts of the rows, such as of each class, which `locant evaluate` prints after `lines`."""
        return []

    def drawings(self, metrics: Mapping[str, Any]) -> dict[str, Callable[[Any], Any]]:
        """A function for each picture of the metrics, by the name of the picture.

        The argument of a function is an empty figure of matplotlib, on which it draws the picture.
        """
        return {}


def say(run: RunConfig, text: str) -> None:
    """Print, in the main process only."""
    if run.training.process_index == 0:
        print(text, flush=True)


def as_text(path: Path | None) -> str | None:
    """The path as transformers takes it."""
    return None if path is None else str(path)


__all__ = ["Line", "Measured", "Prepared", "Recipe", "TrainerInputs", "as_text", "say"]
