# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The options of image classification."""
# ruff: noqa: RUF009 (`option` returns a new dataclass field at each call)

from dataclasses import dataclass
from typing import Any, ClassVar

from ..options.arguments import TrainingArguments, option
from .image_arguments import ImageArguments


@dataclass
class ImageClassificationData(ImageArguments):
    """The options of the section `data:` for image classification: images with labels.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    train_file: str | list[str] | None = option(
        None,
        "Training images with their labels: a TSV, CSV, JSON lines or Parquet file, whose path is relative to the "
        "current directory. The paths of images in the file are relative to the folder of the file.",
    )
    label_column: str | None = option(None, "Column of the label; by default label.")
    random_flip: bool = option(False, "In training, mirror an image, left to right, with probability 0.5.")

    columns: ClassVar[tuple[str, ...]] = ("image", "label")


@dataclass
class ImageClassificationTraining(TrainingArguments):
    """The options of the section `training:`; by default, `metric_for_best_model` is accuracy."""

    output_dir: str = option("runs/image-classifier", "Folder of the run; the same command resumes a stopped run.")

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Return the metrics, with True if higher is better; accuracy is the default of `metric_for_best_model`."""
        return {"accuracy": True, "macro_f1": True, "loss": False}
