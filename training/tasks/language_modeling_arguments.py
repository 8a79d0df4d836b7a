# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The data and training options of the task `language_modeling`."""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..options.arguments import TrainingArguments, check_positive, option
from .document_arguments import DocumentArguments


@dataclass
class LanguageModelingData(DocumentArguments):
    """The options of the section `data:`: the sources of the documents, and the size of the blocks of tokens.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    block_size: int = option(
        256,
        "Largest number of tokens in a block: short documents share a block if the model can prevent attention between "
        "them, and longer documents are cut into pieces.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_size < 2:
            raise InputError(f"block_size is {self.block_size}, but must be at least 2: one token predicts the next.")


@dataclass
class LanguageModelingTraining(TrainingArguments):
    """The options of the section `training:`; by default, `metric_for_best_model` is the validation loss."""

    output_dir: str = option("runs/language-model", "Folder of the run; the same command resumes a stopped run.")
    per_device_eval_batch_size: int = option(16, "Rows in a batch on each device in evaluation.")
    max_new_tokens: int = option(
        128,
        "Largest number of tokens that the saved model generates after a prompt; by default, also at most half of the "
        "number of learned positions.",
    )

    use_cache: bool = option(True, "Whether the saved model decodes with a cache; training itself needs none.")

    def __post_init__(self, data: Any) -> None:
        check_positive(self, "max_new_tokens")
        super().__post_init__(data)

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Return the metrics of evaluation: loss and perplexity per token, with False because lower is better."""
        return {"loss": False, "perplexity": False}
