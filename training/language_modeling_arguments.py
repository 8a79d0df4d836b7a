# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What can be said about training a causal language model."""
# ruff: noqa: RUF009 (`option` returns a field of its own at each call)

from dataclasses import dataclass
from typing import Any, ClassVar

from .arguments import DataArguments, TokenizerArguments, TrainingArguments, option
from .errors import InputError


@dataclass
class LanguageModelingData(TokenizerArguments, DataArguments):
    """Text, and how it becomes blocks of tokens.

    Raises:
        InputError: no data or two sources of data are given, or a value is out of range.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training documents: a text file, each line a document, or a TSV, CSV, JSON lines or Parquet file with a "
        "column of texts, each a document. Paths are relative to the current directory.",
    )
    text_column: str | None = option(None, "Column of the text, in files and datasets that have columns.")
    block_size: int = option(
        256, "Tokens in a block: short documents share one, unseen by each other, and longer ones are cut."
    )

    columns: ClassVar[tuple[str, ...]] = ("text",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_size < 2:
            raise InputError(f"block_size is {self.block_size}, but must be at least 2: one token predicts the next.")


@dataclass
class LanguageModelingTraining(TrainingArguments):
    """Training a causal language model, which the validation loss chooses."""

    output_dir: str | None = option(
        "runs/language-model", "Folder of the run; the same command goes on where it stopped."
    )
    per_device_eval_batch_size: int = option(16, "Rows in a batch on each device in evaluation.")

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Loss and perplexity per token."""
        return {"loss": False, "perplexity": False}
