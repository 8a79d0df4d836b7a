# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BLEU by the length of the source."""

from collections.abc import Iterable
from itertools import pairwise

from ..inference import EvaluationRow
from .translation_metrics import corpus_bleu

LENGTHS = (10, 20, 30, 40)
"""The largest number of words of a source, separated by white space, in each bucket; the last bucket has no limit."""

BUCKETS = (*(f"{low + 1}–{high}" for low, high in pairwise((0, *LENGTHS))), f"over {LENGTHS[-1]}")


def bleu_by_length(rows: Iterable[EvaluationRow]) -> dict[str, tuple[int, float]]:
    """Return the number and the corpus BLEU (0-100) of the sentences in each of `BUCKETS` that has any sentences."""
    by_bucket: dict[str, list[EvaluationRow]] = {bucket: [] for bucket in BUCKETS}
    for row in rows:
        words = len(row.source.split())
        by_bucket[BUCKETS[sum(words > longest for longest in LENGTHS)]].append(row)
    found = {}
    for bucket, inside in by_bucket.items():
        if inside:
            translations, references = [row.translation for row in inside], [row.reference for row in inside]
            bleu = corpus_bleu(translations, references)["bleu"]
            found[bucket] = (len(inside), bleu)
    return found
