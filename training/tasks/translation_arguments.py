# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The data and training options of the task `translation`."""
# ruff: noqa: RUF009 (`option` returns a new dataclass field at each call)

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..options.arguments import GenerationTrainingArguments, TokenizerArguments, check_positive, option
from .streaming_arguments import StreamingArguments


@dataclass
class TranslationData(TokenizerArguments, StreamingArguments):
    """The options of the section `data:`: the files or the dataset of the parallel text, and its tokenisation.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training pairs: two parallel text files (source, target), or one TSV, CSV, JSON lines or Parquet "
        "file (with streaming, any number of such files). Paths are relative to the current directory.",
    )
    source_column: str | None = option(None, "Column of the source text, in files and datasets that have columns.")
    target_column: str | None = option(None, "Column of the target text.")
    source_lang: str | None = option(
        None, "ISO 639 code of the source language, such as en, if it has one; saved in the model's config."
    )
    target_lang: str | None = option(
        None, "ISO 639 code of the target language, such as fr, if it has one; saved in the model's config."
    )
    source_prefix: str | None = option(None, "Text put before every source, such as 'translate English to French: '.")
    max_source_length: int | None = option(
        256,
        "Largest number of tokens in a source: training pairs with a longer source are dropped, and the run prints "
        "their number.",
    )
    max_target_length: int | None = option(
        256,
        "Largest number of tokens in a target: training pairs with a longer target are dropped, and the run prints "
        "their number.",
    )
    bpe_dropout: float = option(
        0.0,
        "Share of BPE merges skipped at random in training (Provilkov et al. 2020); try 0.1 with few training pairs.",
    )

    columns: ClassVar[tuple[str, ...]] = ("source", "target")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.bpe_dropout < 1.0:
            raise InputError(f"bpe_dropout is {self.bpe_dropout}, but must be at least 0 and below 1.")
        check_positive(self, "max_source_length", "max_target_length", "tokenizer_vocab_size")


@dataclass
class TranslationTraining(GenerationTrainingArguments):
    """The options of the section `training:`.

    By default, the best checkpoint is the one with the highest BLEU on the validation set, or with the lowest loss if
    `predict_with_generate` is false.
    """

    output_dir: str = option("runs/translator", "Folder of the run; the same command resumes a stopped run.")
