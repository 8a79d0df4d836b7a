# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The options of tasks whose training data can be read while the model trains."""
# ruff: noqa: RUF009 (`option` returns a new dataclass field at each call)

import math
from dataclasses import dataclass

from ..errors import InputError
from ..options.arguments import DataArguments, option


@dataclass
class StreamingArguments(DataArguments):
    """The options of the section `data:` for tasks whose training data can be streamed.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    streaming: bool = option(
        False,
        "Read the training data in blocks of 10,000 rows (of a text file: lines) while the model trains, for data that "
        "are too large for the memory or the disk cache; needs max_steps and validation_file.",
    )
    train_weights: list[float] | None = option(
        None,
        "With streaming, the number of times that the rows of each file in train_file are read in a pass over the "
        "data, such as [2, 0.5]; parallel text files count as one file.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_streaming()

    def _checked_files(self, name: str) -> str | list[str] | None:
        files = getattr(self, name)
        if not (self.streaming and name == "train_file" and isinstance(files, list) and len(files) > 1):
            return super()._checked_files(name)
        return files  # any number of tables or text files; `open_blocks` checks them

    def _check_streaming(self) -> None:
        weights = self.train_weights
        if not self.streaming:
            if weights is not None:
                raise InputError(
                    "train_weights is given without streaming: set streaming to true, or leave train_weights out."
                )
            return
        if self.train_file is None:
            raise InputError("streaming reads files, but dataset_name is given: give train_file instead.")
        if self.validation_file is None:
            raise InputError(
                "streaming cuts no validation rows from the training data, and no validation_file is given: give a "
                "validation_file."
            )
        if weights is not None and not all(0 < weight < math.inf for weight in weights):
            raise InputError(f"train_weights is {weights}, but each weight must be a finite number above 0.")
