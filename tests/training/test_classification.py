# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Losses and scores of classifiers, against transformers' loss and counting by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import EvalPrediction
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from locant.training.classification import (
    ClassificationMetrics,
    classification_lines,
    classification_metrics,
    classification_scores,
    label_losses,
)

LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
CASES = {
    "single_label_classification": (LOGITS, torch.tensor([0, 2, 1, 1, 0, 2, 2])),
    "multi_label_classification": (LOGITS, (LOGITS + LOGITS.flip(0) > 0).float()),
    "regression": (LOGITS[:, :1], LOGITS[:, 1] - 100),
}


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
