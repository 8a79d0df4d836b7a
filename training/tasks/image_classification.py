# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of image classification: train an encoder on images with one label each, and evaluate it."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from transformers import AutoImageProcessor, AutoModelForImageClassification, BaseImageProcessor, PreTrainedModel

from ..data.batching import TrainingRows
from ..data.images import DIGEST, PIXEL_COLUMNS, ImageCollator, build_image_processor, read_images, variation
from ..data.row_checks import count_overlap
from ..data.tables import IMAGE, LABEL, LINE, Column, Layout, numbered, table_of
from ..options.run_config import RunConfig
from ..run.trainer import by_length
from .classification import (
    Classification,
    ClassificationMetrics,
    check_class,
    class_numbers,
    classification_metrics,
    find_classes,
    predict_logits,
)
from .image_classification_arguments import ImageClassificationData
from .recipe import PreparedData, TrainerInputs


class Prediction(NamedTuple):
    """A row of predictions: the number of the row in its file, the label, the predicted label, and its probability."""

    row: int
    label: str
    prediction: str
    probability: str


class ImageClassification(Classification):
    """The recipe of encoders that predict one label for an image."""

    auto_class = AutoModelForImageClassification
    processor_class = AutoImageProcessor

    data: ImageClassificationData

    @property
    def layout(self) -> Layout:
        """The columns of a row: an image and its label."""
        image = Column("image", IMAGE, chosen=self.data.image_column)
        return Layout((image, Column("label", LABEL, chosen=self.data.label_column)), row="image")

    def build_processor(self, run: RunConfig, train: Dataset, name: str | None) -> BaseImageProcessor:
        """Load the image processor `name`; if `name` is None, make one for the image size and channels of the model."""
        return build_image_processor(self.data, run, name)

    def encode(self, rows: DatasetDict, processor: BaseImageProcessor) -> PreparedData:
        """Read the images of every split, and add the class numbers as `labels`."""
        classes = find_classes(rows["train"]["label"], "image")
        encoded = DatasetDict()
        summary: dict[str, Any] = {"labels": dict(Counter(rows["train"]["label"]).most_common())}
        for split, images in rows.items():
            encoded[split] = self._encode_split(images, processor, classes, table_of(self.data, split))
            summary[split] = {"images": len(images)}
        if "test" in rows:
            compared = {"images": [DIGEST], "with_label": [DIGEST, "labels"]}
            summary["test_in_train"] = count_overlap(encoded["train"], encoded["test"], compared)
        return PreparedData(rows, encoded, processor, summary, classes)

    def _encode_split(self, rows: Dataset, processor: BaseImageProcessor, classes: list[str], table: str) -> Dataset:
        """Read the images of a split, and add the class numbers as `labels`."""
        numbers = class_numbers(classes)
        for line, label in zip(rows[LINE], rows["label"], strict=True):
            check_class(label, numbers, table, line)
        images = read_images(rows, processor, table, self.data.preprocessing_num_workers)
        labels = [numbers[label] for label in images["label"]]
        return images.add_column("labels", np.array(labels, dtype=np.int64))

    def trainer_inputs(self, run: RunConfig, prepared: PreparedData, model: PreTrainedModel) -> TrainerInputs:
        """Return datasets of pixels and labels, the data collator and the metrics for the Trainer.

        With `random_shift`, `random_crop` or `random_flip`, the training images are augmented anew in each epoch.
        """
        columns = [*PIXEL_COLUMNS, "labels"]
        train, validation = (prepared.encoded[split].select_columns(columns) for split in ("train", "validation"))
        return TrainerInputs(
            train_dataset=TrainingRows(train, variation(self.data, self.data.random_flip), seed=run.training.seed),
            train_lengths=np.ones((len(train), 1), dtype=int),
            eval_dataset=by_length(validation, np.ones((len(validation), 1), dtype=int)),
            data_collator=ImageCollator(prepared.processor),
            compute_metrics=ClassificationMetrics(self.problem_type),
        )

    def measure(
        self, model: PreTrainedModel, processor: BaseImageProcessor, rows: Dataset, **options: Any
    ) -> tuple[dict[str, Any], list[Prediction]]:
        """Measure loss, accuracy, macro F1 and the scores of each class; the predictions are `Prediction`s."""
        classes = [str(name) for _, name in sorted((model.config.id2label or {}).items())]
        encoded = self._encode_split(numbered(rows), processor, classes, self.table)
        images, lengths = encoded.select_columns(PIXEL_COLUMNS), np.ones((len(rows), 1), dtype=int)
        logits = predict_logits(model, ImageCollator(processor), images, lengths, **options)
        metrics = classification_metrics(logits, torch.tensor(encoded["labels"][:]), self.problem_type, classes)
        best = logits.softmax(dim=-1).max(dim=-1)
        predictions = [
            Prediction(line, label, classes[number], f"{probability:.4f}")
            for line, label, number, probability in zip(
                encoded[LINE], encoded["label"], best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]
        return {**metrics, "images": len(rows)}, predictions
