# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Losses and scores of classifiers, against transformers' loss and counting by hand."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from transformers import EvalPrediction
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from locant.training.run.pictures import draw_confusion_matrix, write_pictures
from locant.training.tasks.classification import (
    ClassificationMetrics,
    classification_lines,
    classification_metrics,
    classification_scores,
    label_losses,
)
from locant.training.tasks.recipe import class_lines

LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
CASES = {
    "single_label_classification": (LOGITS, torch.tensor([0, 2, 1, 1, 0, 2, 2])),
    "multi_label_classification": (LOGITS, (LOGITS + LOGITS.flip(0) > 0).float()),
    "regression": (LOGITS[:, :1], LOGITS[:, 1] - 100),
}


def test_labels_with_dollar_signs_are_no_formulas(tmp_path):
    measured = {"confusion_matrix": [[1, 2], [3, 4]], "by_class": dict.fromkeys(["$0_$50", "$50_$100"])}
    assert write_pictures(tmp_path, {"matrix": partial(draw_confusion_matrix, metrics=measured)}, "not drawn")


@pytest.mark.parametrize(("problem_type", "case"), CASES.items(), ids=list(CASES))
class TestLosses:
    def test_their_mean_is_the_loss_of_transformers(self, problem_type, case):
        logits, labels = case
        config = SimpleNamespace(problem_type=problem_type, num_labels=logits.shape[1])
        expected = ForSequenceClassificationLoss(labels, logits, config)
        losses = label_losses(logits, labels, problem_type)
        assert losses.shape == labels.shape
        torch.testing.assert_close(losses.mean(), expected)

    def test_are_computed_in_float32(self, problem_type, case):
        logits, labels = case
        losses = label_losses(logits.bfloat16(), labels, problem_type)
        assert losses.dtype == torch.float32
        torch.testing.assert_close(losses, label_losses(logits.bfloat16().float(), labels, problem_type))

    def test_metrics_of_rows_are_those_of_sums(self, problem_type, case):
        logits, labels = case
        losses = label_losses(logits, labels, problem_type).reshape(7, -1)
        sums = (losses.sum(1).numpy(), np.full(7, losses.shape[1]), logits.numpy(), labels.numpy())
        found = ClassificationMetrics(problem_type)(EvalPrediction(predictions=sums, label_ids=np.arange(7)))
        assert found == pytest.approx(classification_metrics(logits, labels, problem_type))
        assert found["loss"] == pytest.approx(losses.mean().item())


class TestScores:
    def test_one_label(self):
        logits = np.eye(3)[[0, 0, 1, 2, 1]]
        found = classification_scores(logits, np.array([0, 1, 1, 1, 0]), "single_label_classification")
        # class 0: 1 right of 2 found and 2 there; class 1: 1 of 2 and 3; class 2: found once, and never there
        assert found == pytest.approx({"accuracy": 2 / 5, "macro_f1": (2 / 4 + 2 / 5 + 0) / 3})

    def test_a_class_that_no_row_has_or_gets_counts(self):
        found = classification_scores(np.eye(3)[[0, 1]], np.array([0, 1]), "single_label_classification")
        assert found == pytest.approx({"accuracy": 1.0, "macro_f1": (1 + 1 + 0) / 3})

    def test_several_labels(self):
        logits = np.array([[1, -1, -1], [1, 1, -1], [-1, -1, -1], [0, -1, 2.0]])
        labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]])
        found = classification_scores(logits, labels, "multi_label_classification")
        assert found == pytest.approx({"accuracy": 2 / 4, "macro_f1": (1 + 0 + 1) / 3})

    def test_numbers(self):
        values, labels = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 3.0])
        found = classification_scores(values[:, None], labels, "regression")
        centred, others = values - values.mean(), labels - labels.mean()
        correlation = (centred @ others) / np.sqrt((centred @ centred) * (others @ others))
        assert found == pytest.approx({"mse": 2 / 3, "pearson": correlation})

    def test_equal_predictions_have_no_correlation(self):
        assert classification_scores(np.ones((3, 1)), np.arange(3.0), "regression")["pearson"] == 0.0


def test_lines_begin_with_the_score():
    assert classification_lines({"loss": 0.5, "accuracy": 0.25, "macro_f1": 0.2}) == [
        ("accuracy", "0.2500", ""),
        ("macro F1", "0.2000", ""),
        ("loss", "0.5000", ""),
    ]


class TestClasses:
    names = ("cat", "dog", "cow")

    def test_have_scores_of_their_own_and_a_confusion_matrix(self):
        logits = torch.eye(3)[[0, 0, 1, 2, 1]]
        labels = torch.tensor([0, 1, 1, 1, 0])
        found = classification_metrics(logits, labels, "single_label_classification", self.names)
        assert found["confusion_matrix"] == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
        assert list(found["by_class"]) == list(self.names)
        assert found["by_class"]["dog"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "rows": 3})
        assert found["by_class"]["cow"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}
        assert [tuple(line) for line in class_lines(found)][1] == (
            "F1 of dog",
            "0.4000",
            "precision 0.5000, recall 0.3333, 3 rows",
        )

    def test_of_several_labels_have_scores_and_no_matrix(self):
        logits, labels = CASES["multi_label_classification"]
        found = classification_metrics(logits, labels, "multi_label_classification", self.names)
        assert "confusion_matrix" not in found
        for number, name in enumerate(self.names):
            is_found, is_there = logits[:, number] >= 0, labels[:, number] == 1
            right = int((is_found & is_there).sum())
            scores = found["by_class"][name]
            assert scores["recall"] == pytest.approx(right / int(is_there.sum()))
            assert scores["precision"] == pytest.approx(right / int(is_found.sum()))
            assert scores["rows"] == int(is_there.sum())

    def test_their_mean_f1_is_the_macro_f1(self):
        logits, labels = CASES["single_label_classification"]
        found = classification_metrics(logits, labels, "single_label_classification", self.names)
        assert np.mean([scores["f1"] for scores in found["by_class"].values()]) == pytest.approx(found["macro_f1"])

    def test_the_picture_has_the_counts(self):
        figure = Figure()
        metrics = {"confusion_matrix": [[7, 1], [0, 1234]], "by_class": {"cat": {}, "dog": {}}}
        draw_confusion_matrix(figure, metrics)
        [axes] = figure.axes
        assert [text.get_text() for text in axes.texts] == ["7", "1", "0", "1,234"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "class")
