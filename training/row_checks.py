# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Rows to look at before training, and signs that the files of a run are not the files that the user meant."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image

from .progress import count_tokens, sample_rows, shorten
from .run_folder import METRICS_FILE
from .tables import row_values

CHECKED_PAIRS = 5000
"""Pairs of a split that are checked, at equal distances."""
FEWEST_PAIRS = 50
"""Pairs below which the correlation of lengths says nothing."""
FEWEST_CHARACTERS = 2000
"""Characters of a text below which its letters do not tell languages apart."""
MOST_CHARACTERS = 50_000


def describe_rows(rows: Dataset, columns: Sequence[str]) -> list[str]:
    """The first, the middle and the last row in words: a line that names the row, then a line a column."""
    for name in columns:
        if isinstance(rows.features[name], Image):
            rows = rows.cast_column(name, Image(decode=False))
    width = max(map(len, columns)) + 1
    lines = []
    for number in sample_rows(len(rows)):
        lines.append(f"train, row {number + 1:,}:")
        lines += [f"  {name + ':':<{width}} {_in_words(rows[number][name])}" for name in columns]
    return lines


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):  # an image, not decoded
        value = value["path"] or f"an image of {len(value['bytes']):,} bytes"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return shorten(str(value))


def copy_warnings(splits: Mapping[str, Dataset], columns: Sequence[str]) -> list[str]:
    """A warning for each split of which most rows are rows of train too, as where one file is given for both."""
    known = set(map(hash, row_values(splits["train"], columns)))
    warnings = []
    for split in (name for name in splits if name != "train"):
        share = np.mean([hash(values) in known for values in row_values(splits[split], columns)])
        if share > 0.5:
            warnings.append(
                f"Warning: {share:.0%} of the rows of {split} are rows of train too, so what is measured on {split} "
                "does not tell how the model does on new rows."
            )
    return warnings


def label_warnings(labels: Sequence[str], row: str) -> list[str]:
    """A warning if most training rows have a label of their own, as where `label_column` names a column of texts."""
    different = len(set(labels))
    if len(labels) < FEWEST_PAIRS or different <= len(labels) / 2:
        return []
    return [
        f"Warning: the {len(labels):,} training {row}s have {different:,} different labels: does label_column name the "
        "column of the labels?"
    ]


def tokenizer_warning(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """A warning if a tokenizer cuts the training data into far more tokens than the data that it was made for.

    Args:
        folder: of the run that made the tokenizer; without its `metrics.json` there is no warning.
        summary: of the data, as `Prepared` has it.
    """
    file = folder / METRICS_FILE
    if not file.is_file():
        return []
    own, new = json.loads(file.read_text(encoding="utf-8")).get("data", {}).get("train", {}), summary["train"]
    unit = "bytes" if "bytes" in own and "bytes" in new else next(iter(new))
    if not (own.get(unit) and count_tokens(own) and new[unit]):
        return []
    before, now = (count_tokens(counts) / counts[unit] for counts in (own, new))
    if now <= 2 * before:
        return []
    size, factor = ("100 bytes", 100) if unit == "bytes" else ("a row", 1)
    return [
        f"Warning: the tokenizer of {folder} makes {now * factor:.1f} tokens of {size} of the training data, and made "
        f"{before * factor:.1f} of {size} of the data that it was trained on: it may not know the language or script."
    ]


def pair_warnings(splits: Mapping[str, Dataset]) -> list[str]:
    """Warnings of pairs that do not look like texts and their translations.

    Args:
        splits: rows with the columns `source` and `target`, by the name of the split, `train` among them.

    Returns:
        A sentence for each sign of a mistake: sources that are their targets (one file given twice), lengths of
        sources and targets without correlation (one file is shifted, or is of other texts), and sources and targets of
        train that resemble those of another split less than the other way about (swapped files), or less than half as
        much as two parts of train resemble each other (another language).
    """
    pairs = {split: _spread(rows) for split, rows in splits.items()}
    warnings = []
    for split, (sources, targets) in pairs.items():
        copied = np.mean([source == target for source, target in zip(sources, targets, strict=True)])
        if copied > 0.5:
            warnings.append(f"in {copied:.0%} of the {split} pairs the target is the source: is one file given twice?")
    correlations = {split: _length_correlation(*texts) for split, texts in pairs.items()}
    best = max((value for value in correlations.values() if value is not None), default=0.0)
    for split, correlation in correlations.items():
        if correlation is not None and correlation < max(0.1, best / 2 if best > 0.5 else 0.0):
            others = [f"{value:.2f} in {other}" for other, value in correlations.items() if other != split and value]
            warnings.append(
                f"the correlation between the lengths of sources and targets is {correlation:.2f} in {split}"
                + (f" ({', '.join(others)})" if others else "")
                + ": do the lines of its files belong together, or is one file shifted?"
            )
        elif (place := _first_shifted(*pairs[split])) is not None:
            warnings.append(
                f"from about {place:.0%} of the {split} pairs on, the lengths of sources and targets do not correlate, "
                "and before they do: is one file shifted from some line on?"
            )
    for split in (name for name in pairs if name != "train"):
        warnings += _language_warnings(pairs["train"], pairs[split], split)
    return [f"Warning: {warning}" for warning in warnings]


def _spread(rows: Dataset) -> tuple[list[str], list[str]]:
    """Sources and targets of some pairs of the split, at equal distances."""
    chosen = rows.select(range(0, len(rows), max(1, len(rows) // CHECKED_PAIRS)))
    return chosen["source"][:], chosen["target"][:]


def _length_correlation(sources: Sequence[str], targets: Sequence[str]) -> float | None:
    """Pearson's correlation of the logarithms of the lengths; None where there are few pairs, or all are as long."""
    lengths = np.log1p([[len(source), len(target)] for source, target in zip(sources, targets, strict=True)])
    if len(lengths) < FEWEST_PAIRS or lengths.std(axis=0).min() < 0.1:
        return None
    return float(np.corrcoef(lengths.T)[0, 1])


def _first_shifted(sources: Sequence[str], targets: Sequence[str]) -> float | None:
    """Where lengths cease to correlate, as a share of the pairs; None if they correlate in all tenths, or in none."""
    size = max(FEWEST_PAIRS, -(-len(sources) // 10))
    starts = range(0, len(sources) - size + 1, size)
    found = [_length_correlation(sources[start : start + size], targets[start : start + size]) for start in starts]
    known = [value for value in found if value is not None]
    if not known or max(known) < 0.5 or min(known) > max(known) / 3:
        return None
    first = next(place for place, value in enumerate(found) if value is not None and value <= max(known) / 3)
    return first * size / len(sources) if first else None


def _language_warnings(train: tuple[list[str], list[str]], other: tuple[list[str], list[str]], split: str) -> list[str]:
    """Compare counts of three letters in train with those in another split, side by side and crosswise."""
    ours, theirs = [" ".join(side) for side in train], [" ".join(side) for side in other]
    # short texts resemble others less, so all have the same length
    size = min(MOST_CHARACTERS, *(len(text) // 2 for text in ours), *map(len, theirs))
    if size < FEWEST_CHARACTERS:
        return []
    first, second = ([_trigrams(text[start : start + size]) for text in ours] for start in (0, size))
    found = [_trigrams(text[:size]) for text in theirs]
    straight = [_cosine(*sides) for sides in zip(first, found, strict=True)]
    crossed = [_cosine(*sides) for sides in zip(first, reversed(found), strict=True)]
    if sum(crossed) > sum(straight) + 0.1:
        return [
            f"the sources of train look like the targets of {split}, and its targets like the sources: are the files "
            "of one of them swapped?"
        ]
    own = [_cosine(*halves) for halves in zip(first, second, strict=True)]
    return [
        f"the {side}s of train and of {split} look like different languages: the cosine between their counts of three "
        f"letters is {likeness:.2f}, and {most:.2f} between two parts of train."
        for side, likeness, most in zip(("source", "target"), straight, own, strict=True)
        if likeness < most / 2
    ]


def _trigrams(text: str) -> Counter[str]:
    text = text.lower()
    return Counter(text[start : start + 3] for start in range(len(text) - 2))


def _cosine(first: Counter[str], second: Counter[str]) -> float:
    """The cosine between two vectors of counts."""
    product = sum(count * second[key] for key, count in first.items())
    norms = [np.sqrt(sum(count**2 for count in counts.values())) for counts in (first, second)]
    return float(product / (norms[0] * norms[1]))


__all__ = ["copy_warnings", "describe_rows", "label_warnings", "pair_warnings", "tokenizer_warning"]
