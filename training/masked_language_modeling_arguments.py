# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What can be said about training a masked language model."""
# ruff: noqa: RUF009 (`option` returns a field of its own at each call)

from dataclasses import dataclass
from typing import Any, ClassVar

from .arguments import DataArguments, TokenizerArguments, TrainingArguments, option
from .errors import InputError


@dataclass
class MaskedLanguageModelingData(TokenizerArguments, DataArguments):
    """Text, and how it becomes pieces with masked tokens.

    Raises:
        InputError: no data or two sources of data are given, or a value is out of range.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training documents: a text file, each line a document, or a TSV, CSV, JSON lines or Parquet file with a "
        "column of texts, each a document. Paths are relative to the current directory.",
    )
    text_column: str | None = option(None, "Column of the text, in files and datasets that have columns.")
    max_length: int = option(256, "Tokens in a piece, special ones included: longer documents are cut.")
    mlm_probability: float = option(0.15, "Share of the tokens that are to be guessed (Devlin et al. 2019: 0.15).")

    columns: ClassVar[tuple[str, ...]] = ("text",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < 3:
            raise InputError(f"max_length is {self.max_length}, but must be at least 3: two tokens are special ones.")
        if not 0 < self.mlm_probability < 1:
            raise InputError(f"mlm_probability is {self.mlm_probability}, but must be above 0 and below 1.")


@dataclass
class MaskedLanguageModelingTraining(TrainingArguments):
    """Training a masked language model, which the validation loss chooses."""

    output_dir: str | None = option(
        "runs/masked-language-model", "Folder of the run; the same command goes on where it stopped."
    )
    per_device_eval_batch_size: int = option(16, "Rows in a batch on each device in evaluation.")

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Loss and accuracy over the masked tokens."""
        return {"loss": False, "accuracy": True}
