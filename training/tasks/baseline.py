# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A baseline for trained models: predictions from the labels of the training split alone, without any input."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from .recipe import PreparedData


def compare_with_baseline(prepared: PreparedData, metrics: Mapping[str, Any]) -> str | None:
    """Compare a trained model on the validation split with the baseline that `baseline` computes.

    Args:
        prepared: the encoded splits; the labels of the training split give the baseline.
        metrics: the metrics of the model on the validation split.

    Returns:
        A warning if the model is no better than the baseline; None if it is better, or if there is no baseline.
    """
    found = baseline(prepared, metrics)
    if found is None:
        return None
    name, value = found
    own = metrics[name]
    if (own > value) if name == "accuracy" else (own < value):
        return None
    return (
        f"Warning: on validation the {name} is {own:.4g}, no better than the {value:.4g} of a guess from the labels of "
        "the training data alone: the model has not learned from its inputs yet, and more epochs, another "
        "learning_rate or another number of warmup_steps may help."
    )


def baseline(prepared: PreparedData, metrics: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the name of a metric, and the value of this metric that the baseline reaches on the validation split.

    If the labels are tokens, the metric is the loss; in the baseline, the probability of a token is its frequency in
    the training labels (counts plus one, so that no probability is 0). If the labels are classes, the metric is the
    accuracy, and the baseline predicts the most frequent class. If the labels are numbers, the metric is the mean
    squared error, and the baseline predicts the mean. Returns None if a row may have several classes. In a streamed
    run, the baseline knows the labels of the first block only, except for classes.
    """
    if "unigram_loss" in metrics:
        return "loss", metrics["unigram_loss"]
    train, validation = (_labels(prepared, split) for split in ("train", "validation"))
    if pa.types.is_floating(train.type):
        return "mse", float(np.mean((validation.to_numpy() - train.to_numpy().mean()) ** 2))
    if not pa.types.is_list(train.type):
        # the summary counts the labels of all training rows; in a streamed run, `prepared.encoded` has one block only
        frequencies = prepared.summary["labels"]
        most_frequent = np.argmax([frequencies[name] for name in sorted(frequencies)])
        return "accuracy", float(np.mean(validation.to_numpy() == most_frequent))
    if pa.types.is_floating(train.type.value_type):
        return None
    ids, expected = train.flatten().to_numpy(), validation.flatten().to_numpy()
    counts = np.bincount(ids, minlength=max(ids.max(), expected.max()) + 1) + 1
    return "loss", float(np.log(counts.sum()) - np.log(counts[expected]).mean())


def _labels(prepared: PreparedData, split: str) -> Any:
    rows = prepared.encoded[split].select_columns("labels").with_format("arrow")
    return rows[:]["labels"].combine_chunks()
