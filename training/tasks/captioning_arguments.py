# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The options of captioning."""
# ruff: noqa: RUF009 (`option` returns a new dataclass field at each call)

from dataclasses import dataclass
from typing import ClassVar

from ..options.arguments import GenerationTrainingArguments, TokenizerArguments, check_positive, option
from .image_arguments import ImageArguments


@dataclass
class CaptioningData(TokenizerArguments, ImageArguments):
    """The options of the section `data:` for captioning: images with captions, and the tokenizer.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training images with their captions: a TSV, CSV, JSON lines or Parquet file, whose path is relative to the "
        "current directory. An image with several captions has a row for each caption. The paths of images in the file "
        "are relative to the folder of the file.",
    )
    caption_column: str | None = option(None, "Column of the caption; by default caption.")
    max_length: int | None = option(
        256,
        "Largest number of tokens in a caption: training rows with a longer caption are dropped, and the run prints "
        "their number.",
    )

    columns: ClassVar[tuple[str, ...]] = ("image", "caption")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_length", "tokenizer_vocab_size")


@dataclass
class CaptioningTraining(GenerationTrainingArguments):
    """The options of the section `training:`.

    By default, the best checkpoint is the one with the highest share of exact captions on the validation set, or with
    the lowest loss if `predict_with_generate` is false.
    """

    output_dir: str = option("runs/captioner", "Folder of the run; the same command resumes a stopped run.")

    generated: ClassVar[tuple[str, ...]] = ("exact", "bleu")
