# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The data and training options of the task `masked_language_modeling`."""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..options.arguments import TrainingArguments, option
from .document_arguments import DocumentArguments


@dataclass
class MaskedLanguageModelingData(DocumentArguments):
    """The options of the section `data:`: the documents, the length of their pieces, and the share of masked tokens.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    max_length: int = option(
        256, "Largest number of tokens in a piece, special tokens included: longer documents are cut into pieces."
    )
    mlm_probability: float = option(
        0.15, "Share of the tokens that are masked and predicted (Devlin et al. 2019: 0.15)."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < 3:
            raise InputError(
                f"max_length is {self.max_length}, but must be at least 3: a piece has two special tokens."
            )
        if not 0 < self.mlm_probability < 1:
            raise InputError(f"mlm_probability is {self.mlm_probability}, but must be above 0 and below 1.")


@dataclass
class MaskedLanguageModelingTraining(TrainingArguments):
    """The options of the section `training:`; by default, `metric_for_best_model` is the validation loss."""

    output_dir: str = option("runs/masked-language-model", "Folder of the run; the same command resumes a stopped run.")
    per_device_eval_batch_size: int = option(16, "Rows in a batch on each device in evaluation.")

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Return the metrics of evaluation over the masked tokens, with True if higher is better."""
        return {"loss": False, "accuracy": True}
