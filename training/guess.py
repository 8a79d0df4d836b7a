# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a guess reaches that knows the frequencies of the training labels, and not the input."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from .recipe import Prepared


def warn_of_a_guess(prepared: Prepared, metrics: Mapping[str, Any]) -> str | None:
    """A warning where a trained model is no better on validation than a guess; None where it is better.

    Args:
        prepared: the encoded splits, whose labels give the guess.
        metrics: of the model on validation.
    """
    found = guess(prepared, metrics)
    if found is None:
        return None
    name, value = found
    own = metrics[name]
    if (own > value) if name == "accuracy" else (own < value):
        return None
    return (
        f"Warning: on validation the {name} is {own:.4g}, no better than the {value:.4g} of a guess from the "
        "frequencies of the training labels: the model has learned nothing from its inputs, and a lower learning_rate "
        "or more warmup_steps may help."
    )


def guess(prepared: Prepared, metrics: Mapping[str, Any]) -> tuple[str, float] | None:
    """A metric and what a guess reaches in it on validation; None for several labels a row.

    The loss of tokens, each with its frequency in the training labels (counts plus one, so that none is impossible);
    the accuracy of the most frequent class; the squared error of the mean of numbers.
    """
    if "unigram_loss" in metrics:
        return "loss", metrics["unigram_loss"]
    train, validation = (_labels(prepared, split) for split in ("train", "validation"))
    if pa.types.is_floating(train.type):
        return "mse", float(np.mean((validation.to_numpy() - train.to_numpy().mean()) ** 2))
    if not pa.types.is_list(train.type):
        most_frequent = np.bincount(train.to_numpy()).argmax()
        return "accuracy", float(np.mean(validation.to_numpy() == most_frequent))
    if pa.types.is_floating(train.type.value_type):
        return None
    ids, expected = train.flatten().to_numpy(), validation.flatten().to_numpy()
    counts = np.bincount(ids, minlength=max(ids.max(), expected.max()) + 1) + 1
    return "loss", float(np.log(counts.sum()) - np.log(counts[expected]).mean())


def _labels(prepared: Prepared, split: str) -> Any:
    rows = prepared.encoded[split].select_columns("labels").with_format("arrow")
    return rows[:]["labels"].combine_chunks()


__all__ = ["guess", "warn_of_a_guess"]
