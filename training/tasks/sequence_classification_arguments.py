# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The data and training options of the task `sequence_classification`."""
# ruff: noqa: RUF009 (`option` returns a new dataclass field at each call)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..errors import InputError
from ..options.arguments import TokenizerArguments, TrainingArguments, check_positive, option
from .streaming_arguments import StreamingArguments


@dataclass
class SequenceClassificationData(TokenizerArguments, StreamingArguments):
    """The options of the section `data:`: the sources of texts and labels, and the tokenisation of the texts.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training texts with their labels: one TSV, CSV, JSON lines or Parquet file (with streaming, any number of "
        "such files), or two parallel text files (text, label). Paths are relative to the current directory.",
    )
    text_column: str | None = option(None, "Column of the text; by default text.")
    label_column: str | None = option(None, "Column of the label; by default label.")
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] = option(
        "single_label_classification",
        "Kind of label: the name of one class, the names of any number of classes, or a number.",
    )
    label_separator: str = option(",", "Separator between the labels of one text, if the labels are not a list.")
    max_length: int | None = option(
        256, "Largest number of tokens in a text: longer texts are cut, and the run prints their number."
    )

    columns: ClassVar[tuple[str, ...]] = ("text", "label")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_length", "tokenizer_vocab_size")
        if not self.label_separator:
            raise InputError("label_separator is empty, but must be the text that separates two labels.")


MEASURES = {
    "single_label_classification": {"accuracy": True, "macro_f1": True, "loss": False},
    "multi_label_classification": {"macro_f1": True, "accuracy": True, "loss": False},
    "regression": {"mse": False, "pearson": True, "loss": False},
}


@dataclass
class SequenceClassificationTraining(TrainingArguments):
    """The options of the section `training:`.

    By default, the best checkpoint is the one with the highest accuracy on the validation set; if a text has several
    labels, with the highest macro F1; for regression, with the lowest mean squared error.
    """

    output_dir: str = option("runs/classifier", "Folder of the run; the same command resumes a stopped run.")

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Return the metrics for `data.problem_type`, the default of `metric_for_best_model` first.

        The value of a metric is True if higher is better.
        """
        return MEASURES[data.problem_type if data else "single_label_classification"]
