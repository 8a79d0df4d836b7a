# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`describe_counts`, which puts the numbers of rows and tokens of a data summary into words."""

from collections.abc import Mapping

_WORDS = {
    "cut": "cut to the maximum length",
    "median_characters": "characters (median)",
    "with_label": "with the same label",
}


def describe_counts(counts: Mapping[str, float]) -> str:
    """Return the counts of a data summary as a text, such as `160 texts, 12 cut to the maximum length`.

    Args:
        counts: the name of each count in `metrics.json`, such as `texts` or `source_tokens`, and the count.
    """
    return ", ".join(f"{count:,} {_WORDS.get(name, name.replace('_', ' '))}" for name, count in counts.items())
