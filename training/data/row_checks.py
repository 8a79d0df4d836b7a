# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Checks of the rows before training: show some rows, warn if a file may be wrong, and count test rows in train."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image

from locant.utils.run_files import METRICS_FILE

from ..run.progress import count_tokens, sample_rows, shorten
from .tables import QUOTED_TSV, row_values

CHECKED_PAIRS = 5000
"""At least this number of pairs of a split is checked, evenly spread; of a split with fewer pairs, all are checked."""
FEWEST_PAIRS = 50
"""With fewer training rows, the labels are not checked; with fewer pairs, the lengths of the texts are not checked."""
FEWEST_CHARACTERS = 2000
"""The smallest number of characters by which the languages of two texts are compared."""
MOST_CHARACTERS = 50_000
"""The largest number of characters by which the languages of two texts are compared."""
_QUOTED_CELL = re.compile(r'"([^"]|"")*"')


def describe_rows(rows: Dataset, columns: Sequence[str]) -> list[str]:
    """Return lines that show the first, the middle and the last row of train: the row number, and each of `columns`."""
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
    if isinstance(value, Mapping):  # an image that is not decoded
        value = value["path"] or f"an image of {len(value['bytes']):,} bytes"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return shorten(str(value))


def copy_warnings(splits: Mapping[str, Dataset], columns: Sequence[str]) -> list[str]:
    """Return a warning for each split other than train if more than half of the rows of the split are also in train.

    The reason may be that one file was given both for train and for the split by mistake.
    """
    known = set(map(hash, row_values(splits["train"], columns)))
    warnings = []
    for split in (name for name in splits if name != "train"):
        share = np.mean([hash(values) in known for values in row_values(splits[split], columns)])
        if share > 0.5:
            warnings.append(
                f"Warning: {share:.0%} of the rows of {split} are rows of train too, so the metrics on {split} do not "
                "show how good the model is on new rows."
            )
    return warnings


def quote_warnings(train: Dataset, columns: Sequence[str]) -> list[str]:
    """Return a warning if training texts look like quoted cells of a CSV file, such as ``"an ""old"" king"``.

    There is a warning if every text that contains a quotation mark is enclosed in quotation marks, all quotation marks
    inside are doubled, and at least one text has such doubled quotation marks.
    """
    texts = [name for name in columns if getattr(train.features[name], "dtype", None) == "string"]
    quoted = [text for name in texts for text in train[name][:] if '"' in text]
    doubled = next((text for text in quoted if '""' in text[1:-1]), None)
    if doubled is None or not all(map(_QUOTED_CELL.fullmatch, quoted)):
        return []
    return [
        f"Warning: {len(quoted):,} texts of train look like quoted cells of a CSV file, such as {shorten(doubled)}. "
        f"{QUOTED_TSV}"
    ]


def label_warnings(labels: Sequence[str], row: str) -> list[str]:
    """Return a warning if the number of different labels is more than half of the number of training rows.

    `label_column` may then name a column of texts by mistake. Fewer than `FEWEST_PAIRS` rows give no warning.

    Args:
        labels: the label of each training row.
        row: the word for a row of this task in the message, such as `text`.
    """
    different = len(set(labels))
    if len(labels) < FEWEST_PAIRS or different <= len(labels) / 2:
        return []
    return [
        f"Warning: the {len(labels):,} training {row}s have {different:,} different labels: does label_column name the "
        "column of the labels?"
    ]


def tokenizer_warning(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """Return a warning if train has more than twice as many tokens per byte as the training data of the tokenizer.

    If one of the two numbers of bytes is unknown, the tokens per row are compared instead.

    Args:
        folder: the folder of the run that trained the tokenizer; if it has no `metrics.json`, there is no warning.
        summary: `PreparedData.summary` of the new run, with the numbers of tokens and bytes of its training data.
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
        f"Warning: the tokenizer of {folder} makes {now * factor:.1f} tokens from {size} of the training data, but "
        f"{before * factor:.1f} from {size} of the data that it was trained on: it may not know the language or script."
    ]


def pair_warnings(splits: Mapping[str, Dataset]) -> list[str]:
    """Return warnings if the pairs do not look like texts with their translations.

    Args:
        splits: the rows of each split, with the columns `source` and `target`; one split is `train`.

    Returns:
        A sentence for each suspicion:

        - One file is given twice: most targets are equal to their sources.
        - One file is shifted: in a split, or from some pair on, the lengths of sources and targets do not correlate, or
          far less than in another split or before this pair.
        - Files are swapped: the sources of train resemble the targets of another split, and the targets of train its
          sources, clearly more than sources resemble sources and targets resemble targets.
        - A split is in another language: its sources are less than half as similar to the sources of train as two parts
          of the sources of train are to each other; or the same is true of its targets.

        The similarity of two texts is the cosine between their counts of trigrams of characters.
    """
    pairs = {split: _spread(rows) for split, rows in splits.items()}
    warnings = []
    for split, (sources, targets) in pairs.items():
        copied = np.mean([source == target for source, target in zip(sources, targets, strict=True)])
        if copied > 0.5:
            warnings.append(
                f"in {copied:.0%} of the {split} pairs the target equals the source: is one file given twice?"
            )
    correlations = {split: _length_correlation(*texts) for split, texts in pairs.items()}
    best = max((value for value in correlations.values() if value is not None), default=0.0)
    for split, correlation in correlations.items():
        if correlation is not None and correlation < max(0.1, best / 2 if best > 0.5 else 0.0):
            others = [
                f"{value:.2f} in {other}"
                for other, value in correlations.items()
                if other != split and value is not None
            ]
            warnings.append(
                f"the correlation between the lengths of sources and targets is {correlation:.2f} in {split}"
                + (f" ({', '.join(others)})" if others else "")
                + ": do the lines of its files belong together, or is one file shifted?"
            )
        elif (place := _first_shifted(*pairs[split])) is not None:
            warnings.append(
                f"after about {place:.0%} of the {split} pairs, the lengths of sources and targets do not correlate "
                "any more: is one file shifted from some line on?"
            )
    for split in (name for name in pairs if name != "train"):
        warnings += _language_warnings(pairs["train"], pairs[split], split)
    return [f"Warning: {warning}" for warning in warnings]


def _spread(rows: Dataset) -> tuple[list[str], list[str]]:
    """Return the sources and targets of at least `CHECKED_PAIRS` evenly spread pairs, or of all if there are fewer."""
    chosen = rows.select(range(0, len(rows), max(1, len(rows) // CHECKED_PAIRS)))
    return chosen["source"][:], chosen["target"][:]


def _length_correlation(sources: Sequence[str], targets: Sequence[str]) -> float | None:
    """Return Pearson's correlation between log(1 + length) of a source and log(1 + length) of its target.

    A length is a number of characters. Returns None if there are fewer than `FEWEST_PAIRS` pairs, or if the sources or
    the targets all have nearly the same length.
    """
    lengths = np.log1p([[len(source), len(target)] for source, target in zip(sources, targets, strict=True)])
    if len(lengths) < FEWEST_PAIRS or lengths.std(axis=0).min() < 0.1:
        return None
    return float(np.corrcoef(lengths.T)[0, 1])


def _first_shifted(sources: Sequence[str], targets: Sequence[str]) -> float | None:
    """Find the place from which on the lengths of sources and targets do not correlate: a line may be missing there.

    The pairs are divided into at most ten consecutive blocks of equal size, with at least `FEWEST_PAIRS` pairs each,
    and the correlation is computed in each block.

    Returns:
        The share of all pairs that stand before the first block with a low correlation. A correlation is low if it is
        at most a third of the highest correlation of a block. None if no block has a low correlation, if the first of
        all blocks has a low correlation, or if the highest correlation is below 0.5.
    """
    size = max(FEWEST_PAIRS, -(-len(sources) // 10))
    starts = range(0, len(sources) - size + 1, size)
    found = [_length_correlation(sources[start : start + size], targets[start : start + size]) for start in starts]
    known = [value for value in found if value is not None]
    if not known or max(known) < 0.5 or min(known) > max(known) / 3:
        return None
    first = next(place for place, value in enumerate(found) if value is not None and value <= max(known) / 3)
    return first * size / len(sources) if first else None


def _language_warnings(train: tuple[list[str], list[str]], other: tuple[list[str], list[str]], split: str) -> list[str]:
    """Return the warnings of `pair_warnings` about swapped files and other languages, for train and another split.

    `train` and `other` are the sources and the targets of the two splits; `split` is the name of the other split. If
    less text than `FEWEST_CHARACTERS` can be compared, there are no warnings.
    """
    ours, theirs = [" ".join(side) for side in train], [" ".join(side) for side in other]
    # all compared texts are cut to the same length, because shorter texts are less similar
    size = min(MOST_CHARACTERS, *(len(text) // 2 for text in ours), *map(len, theirs))
    if size < FEWEST_CHARACTERS:
        return []
    first, second = ([_trigrams(text[start : start + size]) for text in ours] for start in (0, size))
    found = [_trigrams(text[:size]) for text in theirs]
    straight = [_cosine(*sides) for sides in zip(first, found, strict=True)]
    crossed = [_cosine(*sides) for sides in zip(first, reversed(found), strict=True)]
    if sum(crossed) > sum(straight) + 0.1:
        return [
            f"the sources of train look like the targets of {split}, and the targets of train like the sources of that "
            "split: are the files of one of the two splits swapped?"
        ]
    own = [_cosine(*halves) for halves in zip(first, second, strict=True)]
    return [
        f"the {side}s of train and of {split} look like different languages: the cosine between their counts of "
        f"character trigrams is {likeness:.2f}, and {most:.2f} between two parts of train: is {split} in the right "
        "language?"
        for side, likeness, most in zip(("source", "target"), straight, own, strict=True)
        if likeness < most / 2
    ]


def _trigrams(text: str) -> Counter[str]:
    text = text.lower()
    return Counter(text[start : start + 3] for start in range(len(text) - 2))


def _cosine(first: Counter[str], second: Counter[str]) -> float:
    """Return the cosine between two vectors of counts: 1 for proportional counts, 0 without a common trigram."""
    product = sum(count * second[key] for key, count in first.items())
    norms = [np.sqrt(sum(count**2 for count in counts.values())) for counts in (first, second)]
    return float(product / (norms[0] * norms[1]))


def count_overlap(train: Dataset, test: Dataset, compared: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Count the rows of `test` that equal a row of `train` in some columns.

    Args:
        train: the training rows.
        test: the test rows.
        compared: a dict from the name of each count to the columns in which the rows are equal.

    Returns:
        A dict from the name of each count to the number of test rows.
    """
    found = {}
    for name, columns in compared.items():
        known = set(row_values(train, columns))
        found[name] = sum(values in known for values in row_values(test, columns))
    return found
