# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`Recipe`, the base class of the parts of `locant train` and `locant evaluate` that differ between tasks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from tqdm.auto import tqdm
from transformers import AutoTokenizer, EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from ..data.batching import TrainingRows
from ..data.row_checks import copy_warnings, quote_warnings
from ..data.streaming import Blocks, EncodedBlock, open_blocks
from ..data.tables import Layout, load_files, load_splits, table_of
from ..errors import InputError
from ..options.run_config import RunConfig
from ..run.trainer import RecipeTrainer, Tensors
from .registry import Task


@dataclass
class PreparedData:
    """The data of a run, prepared for training; in a streamed run, the split train has the first block only.

    Args:
        rows: the splits as they were read.
        encoded: the splits as token ids, pixels and labels, without the training rows that cannot be used.
        processor: tokenizer, image processor or both, saved with the model.
        summary: numbers about the data, such as rows and tokens of each split, which `metrics.json` has under `data`.
        classes: the names of the classes in the order of their numbers; empty for regression and tasks without classes.
    """

    rows: DatasetDict
    encoded: DatasetDict
    processor: Any
    summary: dict[str, Any]
    classes: list[str] = field(default_factory=list)


@dataclass
class Stream:
    """The blocks of a streamed run, and the function that converts the rows of a block to training rows."""

    blocks: Blocks
    encode: Callable[[Dataset], EncodedBlock]


@dataclass
class TrainerInputs:
    """The arguments of `RecipeTrainer` that a recipe makes: datasets, data collator and metrics.

    In a streamed run, `train_dataset` and `train_lengths` belong to the first block, and `stream` has all blocks.
    """

    train_dataset: TrainingRows
    train_lengths: np.ndarray
    eval_dataset: Dataset
    data_collator: Callable[[list[Any]], Any]
    compute_metrics: Callable[[EvalPrediction], dict[str, float]]
    stream: Stream | None = None


class MetricLine(NamedTuple):
    """The texts that are printed for one metric: its name, its value, and a note, such as the signature of BLEU."""

    name: str
    value: str
    note: str = ""


class ReportTable(NamedTuple):
    """A table of the report of a run: its title, the names of its columns, and its rows, whose cells are strings."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def class_lines(metrics: Mapping[str, Any]) -> list[MetricLine]:
    """Return lines with the F1, precision, recall and number of rows of each class; for regression, an empty list."""
    return [
        MetricLine(
            f"F1 of {name}",
            f"{scores['f1']:.4f}",
            f"precision {scores['precision']:.4f}, recall {scores['recall']:.4f}, {scores['rows']:,} rows",
        )
        for name, scores in metrics.get("by_class", {}).items()
    ]


MOST_REPORTED_ROWS = 20


def report_rows(title: str, rows: Sequence[Any]) -> ReportTable:
    """Make a table of the first `MOST_REPORTED_ROWS` named tuples in `rows`, with each cell cut to 500 characters."""
    shown = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell)[:500] for cell in row] for row in rows]
    return ReportTable(title, rows[0]._fields if rows else [], shown[:MOST_REPORTED_ROWS])


class Recipe(ABC):
    """The steps of a run that depend on the task, from reading the rows to measuring the model.

    The methods are defined in about the order in which a run calls them. None of them writes to the folder of the run.

    Args:
        data: the options of the section `data:`.
        seed: the seed of random choices in the data, such as the choice of the rows that are cut from train for
            validation.
    """

    auto_class: ClassVar[Any]
    """The Auto class of the task's models."""
    processor_class: ClassVar[Any] = AutoTokenizer
    """The Auto class of the tokenizer or processor that is saved with the models."""
    trainer_class: ClassVar[type[RecipeTrainer]]
    predictions_name: ClassVar[str] = "predictions"
    """The second part of the name of the file with the predictions for a split, as in `test_predictions.tsv`."""

    def __init__(self, data: Any, seed: int):
        self.data = data
        self.seed = seed
        self.table = "data"  # the file or dataset of the rows that `measure` gets, for messages
        self.blocks: Blocks | None = None  # the blocks of a streamed run, after `load` has opened them

    @property
    def is_streamed(self) -> bool:
        """Whether the training data are read while the model trains; False for tasks without the option `streaming`."""
        return getattr(self.data, "streaming", False)

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """The columns of a row."""

    def load(self) -> DatasetDict:
        """Load the rows of each split; with `streaming`, the split train is the first block of the first file."""
        if not self.is_streamed:
            return load_splits(self.layout, self.data, self.seed)
        self.blocks = Blocks(open_blocks(self.data.train_file, self.layout), self.data.train_weights, self.seed)
        files = {split: getattr(self.data, f"{split}_file") for split in ("validation", "test")}
        held_out = {split: load_files(given, split, self.layout) for split, given in files.items() if given is not None}
        return DatasetDict({"train": self.blocks.first(), **held_out})

    def load_split(self, split: str) -> Dataset:
        """Load the rows of one split; raise `InputError` if the data do not have this split.

        A test file is read without the other splits, so that a finished model can be measured on a machine without its
        training data. With `streaming`, a validation file is also read without the other splits.
        """
        self.table = table_of(self.data, split)
        file = getattr(self.data, f"{split}_file")
        if file is not None and (split == "test" or (split == "validation" and self.is_streamed)):
            return load_files(file, split, self.layout)
        splits = self.load()
        if split not in splits:
            raise InputError(f"There are no {split} data: give --{split}_file, or choose another --split.")
        return splits[split]

    def stream(self, encode: Callable[[Dataset], EncodedBlock]) -> Stream | None:
        """Return a `Stream` of the blocks that `load` has opened if the run is streamed, or else None."""
        return None if self.blocks is None else Stream(self.blocks, encode)

    def warnings(self, rows: DatasetDict) -> list[str]:
        """Return a list of warnings that the rows may come from wrong files, or from files in a wrong format."""
        columns = list(self.layout.features)
        return [*copy_warnings(rows, columns), *quote_warnings(rows["train"], columns)]

    @abstractmethod
    def build_processor(self, run: RunConfig, train: Dataset, name: str | None) -> Any:
        """Load the processor from `name`, a folder or Hub name; if `name` is None, make one with the options in `run`.

        `train` holds the rows from which a tokenizer is trained: the training rows, or with `streaming` a sample of the
        training rows.
        """

    @abstractmethod
    def encode(self, rows: DatasetDict, processor: Any) -> PreparedData:
        """Check the rows of each split, convert them to token ids, pixels and labels, and count them for `summary`."""

    def config_fields(self, prepared: PreparedData) -> dict[str, Any]:
        """Return the fields of a new model's config that follow from the data, such as `vocab_size`."""
        return {}

    def head_fields(self, prepared: PreparedData) -> dict[str, Any]:
        """Return the fields of a new or a fine-tuned model's config that follow from the data, such as class names."""
        return {}

    def adapt(self, model: PreTrainedModel, run: RunConfig) -> None:  # noqa: B027 (most tasks need nothing)
        """Copy options of `run`, such as `max_new_tokens`, to the config or the generation config of `model`.

        The method of the base class copies no option.
        """

    def check(self, model: PreTrainedModel, prepared: PreparedData) -> None:  # noqa: B027
        """Raise `InputError` if the model cannot process the data, such as a text longer than its learned positions."""

    @abstractmethod
    def trainer_inputs(self, run: RunConfig, prepared: PreparedData, model: PreTrainedModel) -> TrainerInputs:
        """Return the datasets, the data collator and the metrics for the Trainer."""

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
    ) -> tuple[dict[str, Any], list[Any]]:
        """Measure a trained model, in evaluation mode, on all rows of one split as `load` returns it.

        `search` holds arguments of `generate` that replace settings of the model's generation config. It is empty for
        models that do not generate.

        Returns:
            The metrics, and a named tuple with the prediction for each row of the split.
        """

    @abstractmethod
    def lines(self, metrics: Mapping[str, Any]) -> list[MetricLine]:
        """Return the lines that are printed for the metrics of `measure`, with the most important metric first."""

    def report_tables(self, rows: Sequence[Any]) -> list[ReportTable]:
        """Make tables of the predictions for a split, such as wrong predictions, for the report of a run."""
        return []


def recipe_of(task: Task) -> type[Recipe]:
    """Import the class of a task's recipe."""
    module, _, name = task.recipe_name.partition(":")
    return getattr(import_module(f".{module}", __package__), name)


@torch.no_grad()
def measure_rows(
    rows: Dataset,
    lengths: np.ndarray,
    measure: Callable[[list[dict[str, Any]]], Tensors],
    *,
    batch_size: int,
    show_progress: bool,
) -> list[np.ndarray]:
    """Call `measure` for batches of rows, in descending order of length.

    Args:
        rows: the rows to measure.
        lengths: the lengths of the rows, `(rows, 1)`.
        measure: a function that takes the rows of a batch, and returns tensors whose first dimension is the rows.
        batch_size: the number of rows in a batch.
        show_progress: whether to draw a progress bar on standard error.

    Returns:
        A list with an array for each tensor that `measure` returns: the results for all rows, in the order of `rows`.
    """
    order = np.argsort(-lengths[:, 0], kind="stable")
    starts = range(0, len(rows), batch_size)
    batches = (rows.select(order[start : start + batch_size]).to_list() for start in starts)
    progress = tqdm(batches, "measuring", len(starts), unit=" batches", disable=not show_progress)
    found = [[values.cpu().numpy() for values in measure(batch)] for batch in progress]
    return [np.concatenate(values)[np.argsort(order)] for values in zip(*found, strict=True)]


def tokenizer_fields(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the config fields whose values come from the tokenizer: `vocab_size` and the ids of special tokens."""
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    return {"vocab_size": len(tokenizer), **{name: getattr(tokenizer, name) for name in names}}
