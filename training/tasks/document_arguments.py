# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The options that say which texts are the documents, for language modeling and masked language modeling."""
# ruff: noqa: RUF009 (`option` returns a new dataclass field at each call)

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..options.arguments import TokenizerArguments, option
from .streaming_arguments import StreamingArguments


@dataclass
class DocumentArguments(TokenizerArguments, StreamingArguments):
    """The options of the section `data:` for tasks whose rows are documents.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training documents: text files (see document_separator), or one TSV, CSV, JSON lines or Parquet file (with "
        "streaming, any number of such files) with a document in each row. Paths are relative to the current "
        "directory.",
    )
    document_separator: str = option(
        "file",
        "Separator of the documents in a text file: file (each file is one document), blank_line, line (each line is a "
        "document), or a text that stands between two documents, such as <|endoftext|>.",
    )
    text_column: str | None = option(
        None, "Column of the text, in files and datasets that have columns; by default text."
    )

    columns: ClassVar[tuple[str, ...]] = ("text",)
    takes_many_files: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.document_separator:
            raise InputError(
                "document_separator is empty, but must be file, blank_line, line, or a text that stands between two "
                "documents."
            )
