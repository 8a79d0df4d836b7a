# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BLEU, chrF and mean sentence BLEU of translations, by sacrebleu; and the perplexity of a loss.

BLEU and chrF are on the 0-100 scale, and each score comes with the sacrebleu signature that makes it comparable
(Post, 2018, "A Call for Clarity in Reporting BLEU Scores").
"""

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from ..errors import InputError

_HIGHEST = 100.0  # the BLEU that sacrebleu computes of equal texts is 100.00000000000004

References = Sequence[str] | Sequence[Sequence[str]]
"""A reference for each prediction, or a list of references for each prediction."""


def perplexity(loss: float) -> float:
    """Return the exponential of a mean loss in nats; a loss above 700 counts as 700, to prevent an overflow."""
    return math.exp(min(loss, 700.0))


def corpus_bleu(predictions: Sequence[str], references: References, **options: Any) -> dict[str, Any]:
    """Compute corpus BLEU (Papineni et al., 2002) with sacrebleu.

    If every reference has fewer than four tokens, BLEU would be 0 even for perfect predictions. Unless `options` sets
    `max_ngram_order`, the largest order of the n-grams is then the number of tokens of the longest reference. The
    signature ends in `|order:N` if the order N is below four.

    Args:
        predictions: the translations.
        references: one reference, or a list of references, for each prediction.
        options: arguments of `sacrebleu.metrics.BLEU`, such as `tokenize="zh"` or `lowercase=True`.

    Returns:
        A dict with `bleu` and `signature`.

    Raises:
        InputError: there are no predictions, one of them has no reference, or the numbers of predictions and references
            differ.
    """
    choices = _reference_lists(predictions, references)
    metric = BLEU(**options)
    longest = max(len(metric.tokenizer(text).split()) for texts in choices for text in texts)
    if "max_ngram_order" not in options and 0 < longest < metric.max_ngram_order:
        metric = BLEU(**options, max_ngram_order=longest)
    score = min(metric.corpus_score(predictions, _reference_streams(choices)).score, _HIGHEST)
    order = f"|order:{metric.max_ngram_order}" if metric.max_ngram_order < BLEU().max_ngram_order else ""
    return {"bleu": score, "signature": f"{metric.get_signature()}{order}"}


def corpus_chrf(predictions: Sequence[str], references: References, **options: Any) -> dict[str, Any]:
    """Compute corpus chrF, the character n-gram F-score (Popović, 2015), with sacrebleu.

    Takes the arguments of `corpus_bleu`, and raises the same errors; but `options` are arguments of
    `sacrebleu.metrics.CHRF`, such as `word_order=2` for chrF++.

    Returns:
        A dict with `chrf` and `signature`.
    """
    metric, choices = CHRF(**options), _reference_lists(predictions, references)
    score = metric.corpus_score(predictions, _reference_streams(choices)).score
    return {"chrf": score, "signature": str(metric.get_signature())}


def sentence_bleu(predictions: Sequence[str], references: References, **options: Any) -> dict[str, Any]:
    """Compute BLEU of each sentence alone, as sacrebleu recommends for sentences, and the mean of these scores.

    Counts of zero are smoothed exponentially (`smooth:exp` in the signature), and n-grams that are longer than the
    prediction do not count (`eff:yes`). Takes the arguments of `corpus_bleu`, and raises the same errors.

    Returns:
        A dict with `sentence_bleu` (the mean), `scores` (a float for each sentence) and `signature`.
    """
    metric, choices = BLEU(**{"effective_order": True, **options}), _reference_lists(predictions, references)
    scores = [min(metric.sentence_score(*pair).score, _HIGHEST) for pair in zip(predictions, choices, strict=True)]
    counts = {len(choice) for choice in choices}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1  # for sacrebleu, -1 means that this number varies
    return {
        "sentence_bleu": sum(scores) / len(scores),
        "scores": scores,
        "signature": str(metric.get_signature()),
    }


def translation_metrics(predictions: Sequence[str], references: References) -> dict[str, float | str]:
    """Compute corpus BLEU, chrF and mean sentence BLEU (0-100) of `predictions`, each with its signature.

    The keys are `bleu`, `chrf` and `sentence_bleu`, and the same names with the suffix `_signature`. Raises the
    same errors as `corpus_bleu`.
    """
    results: dict[str, float | str] = {}
    for name, metric in {"bleu": corpus_bleu, "chrf": corpus_chrf, "sentence_bleu": sentence_bleu}.items():
        result = metric(predictions, references)
        results |= {name: result[name], f"{name}_signature": result["signature"]}
    return results


def _reference_lists(predictions: Sequence[str], references: References) -> list[list[str]]:
    """Return the references of each prediction as a list; raise the same `InputError` as `corpus_bleu`."""
    if len(predictions) != len(references):
        raise InputError(
            f"There are {len(predictions)} predictions and {len(references)} references: give one reference, or one "
            "list of references, for each prediction."
        )
    if len(predictions) == 0:
        raise InputError("There are no predictions: give at least one, with its reference.")
    lists = [[choices] if isinstance(choices, str) else list(choices) for choices in references]
    if [] in lists:
        raise InputError(f"Prediction {lists.index([]) + 1} has an empty list of references: give at least one.")
    return lists


def _reference_streams(choices: list[list[str]]) -> list[tuple[Any, ...]]:
    """Return a tuple for each index i, with reference i of each prediction; None stands for a missing reference."""
    return list(zip_longest(*choices))
