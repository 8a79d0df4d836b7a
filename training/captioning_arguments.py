# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What can be said about training a captioner."""
# ruff: noqa: RUF009 (`option` returns a field of its own at each call)

from dataclasses import dataclass
from typing import Any, ClassVar

from .arguments import GenerationTrainingArguments, TokenizerArguments, check_positive, option
from .image_arguments import ImageArguments


@dataclass
class CaptioningData(TokenizerArguments, ImageArguments):
    """Images with their captions, and how these become tokens.

    Raises:
        InputError: no data or two sources of data are given, or a value is out of range.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training images with their captions: a TSV, CSV, JSON lines or Parquet file; an image with several stands in "
        "several rows. Paths are relative to the current directory, those in a table to its folder.",
    )
    caption_column: str | None = option(None, "Column of the caption; by default caption.")
    max_length: int | None = option(256, "Training images whose caption has more tokens are dropped, and counted.")

    columns: ClassVar[tuple[str, ...]] = ("image", "caption")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_length", "tokenizer_vocab_size")


@dataclass
class CaptioningTraining(GenerationTrainingArguments):
    """Training a captioner, which the share of captions that are exactly right chooses."""

    output_dir: str | None = option("runs/captioner", "Folder of the run; the same command goes on where it stopped.")

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Captions are compared where they are generated for the validation set."""
        generated = {"exact": True, "bleu": True} if self.predict_with_generate else {}
        return {**generated, "loss": False, "perplexity": False}

    def mend_measure(self, metric: str) -> str:
        """What compares captions can be had."""
        if metric in ("exact", "bleu"):
            return "set predict_with_generate, or choose one of them"
        return super().mend_measure(metric)
