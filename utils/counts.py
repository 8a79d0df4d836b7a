# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Puts the counts of a data summary into words: `describe_counts` for rows and tokens, `list_labels` for labels."""

from collections.abc import Mapping

_WORDS = {
    "cut": "cut to the maximum length",
    "median_characters": "characters (median)",
    "with_label": "with the same label",
}
MOST_LABELS = 20
"""The largest number of labels that `list_labels` lists."""


def describe_counts(counts: Mapping[str, float]) -> str:
    """Return the counts of a data summary as a text, such as `160 texts, 12 cut to the maximum length`.

    Args:
        counts: the name of each count in `metrics.json`, such as `texts` or `source_tokens`, and the count.
    """
    return ", ".join(f"{count:,} {_WORDS.get(name, name.replace('_', ' '))}" for name, count in counts.items())


def list_labels(labels: Mapping[str, int]) -> str:
    """Return the first `MOST_LABELS` labels of a data summary with their numbers of rows, such as `ham 20, spam 4`."""
    listed = [f"{name} {count:,}" for name, count in labels.items()]
    return ", ".join(listed[:MOST_LABELS]) + (", …" if len(listed) > MOST_LABELS else "")
