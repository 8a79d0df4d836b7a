# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Loss and metrics of classifiers of texts and images: one label or several labels for each row, or regression."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    mean_squared_error,
    precision_recall_fscore_support,
)
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from transformers import EvalPrediction, PreTrainedModel

from ..data.row_checks import label_warnings
from ..data.tables import place_of
from ..errors import InputError
from ..run.trainer import RecipeTrainer, Tensors, mean_loss
from .recipe import MetricLine, PreparedData, Recipe, ReportTable, measure_rows, report_rows

MOST_CLASSES_OF_A_MATRIX = 100
"""The largest number of classes for which there is a confusion matrix."""


def find_classes(names: Iterable[str], row: str) -> list[str]:
    """Return the classes in the order of their numbers: the different labels, sorted.

    Args:
        names: the labels of the training rows.
        row: the word for a row in the error message, such as `text`.

    Raises:
        InputError: there are fewer than two classes.
    """
    classes = sorted(set(names))
    if len(classes) < 2:
        raise InputError(
            f"The training {row}s have {len(classes)} different labels ({', '.join(classes) or 'none'}), but a "
            "classifier needs two or more: correct the labels, or choose another label_column."
        )
    return classes


def check_class(name: str, classes: Sequence[str] | Mapping[str, int], table: str, row: int) -> None:
    """Raise `InputError` if `name`, the label of a row of `table`, is not one of the `classes` of the training data."""
    if name not in classes:
        raise InputError(
            f"{place_of(table, row)}: the label {name!r} is not one of the {len(classes)} labels of the training data "
            f"({', '.join([*classes][:10])}{', …' if len(classes) > 10 else ''}): correct the label, or remove the row."
        )


def class_numbers(classes: Sequence[str]) -> dict[str, int]:
    """Return a dict from the name of each class to its number."""
    return {name: number for number, name in enumerate(classes)}


def label_losses(logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Compute the loss of each label, in float32.

    Args:
        logits: `(batch, num_labels)`.
        labels: class numbers `(batch,)`; for `regression`, the expected values `(batch,)`; for
            `multi_label_classification`, 1 for each label of a row and 0 for the other labels, `(batch, num_labels)`.
        problem_type: `problem_type` of the config; None means `single_label_classification`.

    Returns:
        A tensor of the shape of `labels`: cross-entropy, squared error, or binary cross-entropy.
    """
    logits = logits.float()
    if problem_type == "regression":
        return mse_loss(logits.squeeze(-1), labels.float(), reduction="none")
    if problem_type == "multi_label_classification":
        return binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    return cross_entropy(logits, labels, reduction="none")


def classification_scores(logits: np.ndarray, labels: np.ndarray, problem_type: str | None) -> dict[str, float]:
    """Compute the scores over all rows.

    `accuracy` is the share of rows whose labels are all predicted correctly, and `macro_f1` the mean of F1 over the
    classes; both are from 0 to 1. For `regression`, `mse` is the mean squared error, and `pearson` the correlation
    between predictions and labels, which is set to 0 if all predictions or all labels are equal.
    """
    if problem_type == "regression":
        values = logits.squeeze(-1).astype(np.float64)
        varies = values.std() > 0 and labels.std() > 0
        correlation = float(np.corrcoef(values, labels)[0, 1]) if varies else 0.0
        return {"mse": float(mean_squared_error(labels, values)), "pearson": correlation}
    found = predicted_labels(logits, problem_type)
    # all classes, also those that occur neither in the labels nor in the predictions
    classes = None if problem_type == "multi_label_classification" else range(logits.shape[-1])
    macro_f1 = f1_score(labels, found, labels=classes, average="macro", zero_division=0)
    return {"accuracy": float(accuracy_score(labels, found)), "macro_f1": float(macro_f1)}


def predicted_labels(logits: np.ndarray, problem_type: str | None) -> np.ndarray:
    """Return the predicted class numbers, `(rows,)`.

    For multi-label classification, return 1 for each label with a probability of at least 0.5 and 0 for other labels,
    `(rows, num_labels)`.
    """
    return (logits >= 0).astype(int) if problem_type == "multi_label_classification" else logits.argmax(axis=-1)


class ClassificationTrainer(RecipeTrainer):
    """A Trainer for classifiers, whose loss is the mean over all labels in all batches of an optimiser step.

    The loss of transformers is this mean only if each row has one class. For several labels or regression, transformers
    would add up the mean losses of accumulated batches and of processes.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(compute_loss_func=self._step_loss, **kwargs)

    def _step_loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        losses = label_losses(outputs["logits"], labels, self.model.config.problem_type)
        return losses.mean() if num_items_in_batch is None else losses.sum() / num_items_in_batch

    def predict_batch(self, model: torch.nn.Module, inputs: dict[str, Any], with_predictions: bool) -> Tensors:
        """Return the summed loss, the number of labels, the logits and the labels of each row."""
        labels = inputs.pop("labels")
        with self.compute_loss_context_manager():
            logits = model(**inputs).logits.float()
        losses = label_losses(logits, labels, self.model.config.problem_type).reshape(len(labels), -1)
        return losses.sum(dim=1), torch.full_like(losses[:, 0], losses.shape[1]), logits, labels


class Classification(Recipe):
    """A recipe whose rows have the column `label`: a class, several classes, or a number for regression."""

    trainer_class = ClassificationTrainer

    @property
    def problem_type(self) -> str:
        """The `problem_type` of the config; in tasks without the option of this name, each row has one label."""
        return getattr(self.data, "problem_type", "single_label_classification")

    def warnings(self, rows: DatasetDict) -> list[str]:
        """Return the warnings of the base class; if each row has one label, also warn of too many different labels."""
        is_single = self.problem_type == "single_label_classification"
        labels = label_warnings(rows["train"]["label"][:], self.layout.row) if is_single else []
        return [*super().warnings(rows), *labels]

    def head_fields(self, prepared: PreparedData) -> dict[str, Any]:
        """Return the config fields with the problem type and the names of the classes.

        For regression, `num_labels` is returned instead of the names, and is 1.
        """
        classes = prepared.classes
        if not classes:
            return {"problem_type": self.problem_type, "num_labels": 1}
        names: dict[str, Any] = {"id2label": dict(enumerate(classes)), "label2id": class_numbers(classes)}
        return {"problem_type": self.problem_type, **names}

    def report_tables(self, rows: Sequence[Any]) -> list[ReportTable]:
        """Make a table of the rows whose prediction is not their label."""
        return [report_rows("Wrong predictions", [row for row in rows if row.prediction != row.label])]

    def lines(self, metrics: Mapping[str, Any]) -> list[MetricLine]:
        """Return lines with the scores, the loss, and the number of rows."""
        rows = f"{self.layout.row}s"
        return [*classification_lines(metrics), MetricLine(rows, f"{metrics[rows]:,}")]


class ClassificationMetrics:
    """Computes the loss and the `classification_scores`; the Trainer gets this object as its `compute_metrics`."""

    def __init__(self, problem_type: str | None):
        self.problem_type = problem_type

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Compute the metrics from the tensors that `predict_batch` returned for all rows."""
        losses, counts, logits, labels = tuple(prediction.predictions)
        return {"loss": mean_loss(losses, counts), **classification_scores(logits, labels, self.problem_type)}


def predict_logits(
    model: PreTrainedModel,
    collate: Callable[[list[dict[str, Any]]], Mapping[str, torch.Tensor]],
    rows: Dataset,
    lengths: np.ndarray,
    **options: Any,
) -> torch.Tensor:
    """Compute the logits `(rows, num_labels)` of all rows, in float32 on the CPU.

    Args:
        model: the classifier.
        collate: a function that makes a batch of tensors, the arguments of the model, from rows.
        rows: the rows, with the columns that `collate` needs.
        lengths: the lengths of the rows, `(rows, 1)`.
        options: the keyword arguments of `measure_rows`.
    """

    def logits_of(batch: list[dict[str, Any]]) -> Tensors:
        inputs = {name: tensor.to(model.device) for name, tensor in collate(batch).items()}
        return (model(**inputs).logits.float(),)

    [logits] = measure_rows(rows, lengths, logits_of, **options)
    return torch.from_numpy(logits)


def classification_metrics(
    logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None, classes: Sequence[str] = ()
) -> dict[str, Any]:
    """Compute the loss and the scores of a finished model.

    If `classes` are given, `by_class` holds the scores of each class. If, in addition, each row has one label and there
    are at most `MOST_CLASSES_OF_A_MATRIX` classes, `confusion_matrix` holds a list for each class, in the order of
    `classes`: entry i of the list is the number of rows of this class for which the model predicts class i.
    """
    loss = label_losses(logits, labels, problem_type).double().mean().item()
    metrics: dict[str, Any] = {"loss": loss, **classification_scores(logits.numpy(), labels.numpy(), problem_type)}
    if classes:
        found, numbers = predicted_labels(logits.numpy(), problem_type), range(len(classes))
        metrics["by_class"] = _class_scores(found, labels.numpy(), classes)
        if problem_type != "multi_label_classification" and len(classes) <= MOST_CLASSES_OF_A_MATRIX:
            metrics["confusion_matrix"] = confusion_matrix(labels.numpy(), found, labels=[*numbers]).tolist()
    return metrics


def _class_scores(found: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return a dict from the name of each class to its precision, recall, F1, and number of rows with this class."""
    scores = precision_recall_fscore_support(labels, found, labels=[*range(len(classes))], zero_division=0)
    columns = zip(*(values.tolist() for values in scores), strict=True)
    return {
        name: {"precision": precision, "recall": recall, "f1": f1, "rows": int(rows)}
        for name, (precision, recall, f1, rows) in zip(classes, columns, strict=True)
    }


def classification_lines(metrics: Mapping[str, Any]) -> list[MetricLine]:
    """Return lines for the terminal with the scores of `classification_scores` that `metrics` has, and the loss."""
    names = {"accuracy": "accuracy", "macro_f1": "macro F1", "mse": "mean squared error", "pearson": "correlation"}
    lines = [MetricLine(name, f"{metrics[key]:.4f}") for key, name in names.items() if key in metrics]
    return [*lines, MetricLine("loss", f"{metrics['loss']:.4f}")]
