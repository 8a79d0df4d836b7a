# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BLEU, chrF and mean sentence BLEU of translations, by sacrebleu; and the perplexity of a loss.

BLEU and chrF are on the 0-100 scale, and each score comes with the sacrebleu signature that makes it comparable
(Post, 2018, "A Call for Clarity in Reporting BLEU Scores").
"""

import math
from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from ..errors import InputError

_HIGHEST = 100.0  # the BLEU that sacrebleu computes of equal texts is 100.00000000000004


def perplexity(loss: float) -> float:
    """Return the exponential of a mean loss in nats; a loss above 700 counts as 700, to prevent an overflow."""
    return math.exp(min(loss, 700.0))


def corpus_bleu(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Compute corpus BLEU (Papineni et al., 2002) with sacrebleu.

    If every reference has fewer than four tokens, BLEU would be 0 even for perfect predictions. The largest order N of
    the n-grams is then the number of tokens of the longest reference, and the signature ends in `|order:N`.

    Args:
        predictions: the translations.
        references: a reference for each prediction.

    Returns:
        A dict with `bleu` and `signature`.

    Raises:
        InputError: there are no predictions, or the numbers of predictions and references differ.
    """
    _check_numbers(predictions, references)
    metric, order = BLEU(), ""
    longest = max(len(metric.tokenizer(text).split()) for text in references)
    if 0 < longest < metric.max_ngram_order:
        metric, order = BLEU(max_ngram_order=longest), f"|order:{longest}"
    score = min(metric.corpus_score(predictions, [references]).score, _HIGHEST)
    return {"bleu": score, "signature": f"{metric.get_signature()}{order}"}


def corpus_chrf(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Compute corpus chrF, the character n-gram F-score (Popović, 2015), with sacrebleu.

    Takes the arguments of `corpus_bleu`, and raises the same error.

    Returns:
        A dict with `chrf` and `signature`.
    """
    _check_numbers(predictions, references)
    metric = CHRF()
    score = metric.corpus_score(predictions, [references]).score
    return {"chrf": score, "signature": str(metric.get_signature())}


def sentence_bleu(predictions: Sequence[str], references: Sequence[str], **options: Any) -> dict[str, Any]:
    """Compute BLEU of each sentence alone, as sacrebleu recommends for sentences, and the mean of these scores.

    Counts of zero are smoothed exponentially (`smooth:exp` in the signature), and n-grams that are longer than the
    prediction do not count (`eff:yes`), unless `options`, arguments of `sacrebleu.metrics.BLEU`, say otherwise. Takes
    the other arguments of `corpus_bleu`, and raises the same error.

    Returns:
        A dict with `sentence_bleu` (the mean), `scores` (a float for each sentence) and `signature`.
    """
    _check_numbers(predictions, references)
    metric = BLEU(**{"effective_order": True, **options})
    pairs = zip(predictions, references, strict=True)
    scores = [min(metric.sentence_score(text, [reference]).score, _HIGHEST) for text, reference in pairs]
    return {
        "sentence_bleu": sum(scores) / len(scores),
        "scores": scores,
        "signature": str(metric.get_signature()),
    }


def translation_metrics(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float | str]:
    """Compute corpus BLEU, chrF and mean sentence BLEU (0-100) of `predictions`, each with its signature.

    The keys are `bleu`, `chrf` and `sentence_bleu`, and the same names with the suffix `_signature`. Raises the
    same error as `corpus_bleu`.
    """
    results: dict[str, float | str] = {}
    for name, metric in {"bleu": corpus_bleu, "chrf": corpus_chrf, "sentence_bleu": sentence_bleu}.items():
        result = metric(predictions, references)
        results |= {name: result[name], f"{name}_signature": result["signature"]}
    return results


def _check_numbers(predictions: Sequence[str], references: Sequence[str]) -> None:
    """Raise the `InputError` of `corpus_bleu`; sacrebleu would leave out predictions that have no reference."""
    if not 0 < len(predictions) == len(references):
        raise InputError(
            f"There are {len(predictions)} predictions and {len(references)} references: give at least one prediction, "
            "and one reference for each prediction."
        )
