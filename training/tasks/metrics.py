# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Translation metrics: `evaluate.Metric` subclasses over sacrebleu that need no network and leave no files.

All scores are on the 0-100 scale, and each comes with the sacrebleu signature that makes it comparable
(Post, 2018, "A Call for Clarity in Reporting BLEU Scores").
"""

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import datasets
import evaluate
from sacrebleu.metrics import BLEU, CHRF

from ..errors import InputError


def perplexity(loss: float) -> float:
    """The exponential of a mean loss in nats. A loss above 700 counts as 700, as its exponential might overflow."""
    return math.exp(min(loss, 700.0))


class _TranslationMetric(evaluate.Metric):
    """Base class of the metrics: predictions are strings, each with one reference or with a list of references.

    Predictions and references stay in memory. Only if `num_process` is above 1, the processes exchange them through
    files in `cache_dir`; give all processes of one evaluation the same `experiment_id`, which no other evaluation uses.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("keep_in_memory", kwargs.get("num_process", 1) == 1)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="https://aclanthology.org/W18-6319",
            inputs_description="predictions: strings; references: for each prediction a string or a list of strings.",
            features=[
                datasets.Features({"predictions": text, "references": text}),
                datasets.Features({"predictions": text, "references": datasets.List(text)}),
            ],
        )

    def _build_data_dir(self) -> str:
        # The base class makes a folder in the user's cache even where no file will ever be put into it.
        return self._data_dir_root if self.keep_in_memory else super()._build_data_dir()

    def add_batch(
        self,
        *,
        predictions: Sequence[str] | None = None,
        references: Sequence[str] | Sequence[Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add predictions and their references; raise `InputError` where their numbers differ."""
        predictions = [] if predictions is None else predictions
        references = [] if references is None else references
        if len(predictions) != len(references):
            raise InputError(
                f"{len(predictions)} predictions and {len(references)} references were given to {self.name}: "
                "give one reference, or one list of references, for each prediction."
            )
        if len(predictions):
            super().add_batch(predictions=predictions, references=references, **kwargs)

    def _finalize(self) -> None:
        if self.keep_in_memory and len(self) == 0:
            raise InputError(f"No predictions were given to {self.name}: give at least one, with its reference.")
        super()._finalize()


class CorpusBLEU(_TranslationMetric):
    """Corpus BLEU (Papineni et al., 2002) as sacrebleu computes it.

    `compute` returns `bleu`, the `precisions` of the four n-gram orders, their `counts` and `totals`, the
    brevity penalty `bp`, the lengths `sys_len` and `ref_len`, and `signature`. Further keyword arguments of
    `compute` (`tokenize="zh"`, `lowercase=True`, …) go to `sacrebleu.metrics.BLEU`.

    If every reference has fewer than four words, BLEU would be 0 even for perfect predictions. The largest order of the
    n-grams is then the length of the longest reference, and `|order:N` is added to the signature.
    """

    def _compute(self, *, predictions: list[str], references: list, **options: Any) -> dict[str, Any]:
        metric = BLEU(**options)
        longest = max(len(metric.tokenizer(text).split()) for texts in _as_lists(references) for text in texts)
        if "max_ngram_order" not in options and 0 < longest < metric.max_ngram_order:
            metric = BLEU(**options, max_ngram_order=longest)
        result = metric.corpus_score(predictions, _reference_streams(references))
        order = f"|order:{metric.max_ngram_order}" if metric.max_ngram_order < BLEU().max_ngram_order else ""
        return {
            "bleu": result.score,
            "precisions": result.precisions,
            "counts": result.counts,
            "totals": result.totals,
            "bp": result.bp,
            "sys_len": result.sys_len,
            "ref_len": result.ref_len,
            "signature": f"{metric.get_signature()}{order}",
        }


class ChrF(_TranslationMetric):
    """Corpus chrF, the character n-gram F-score (Popović, 2015), as sacrebleu computes it.

    `compute` returns `chrf` and `signature`. Further keyword arguments of `compute` (`word_order=2` for
    chrF++, …) go to `sacrebleu.metrics.CHRF`.
    """

    def _compute(self, *, predictions: list[str], references: list, **options: Any) -> dict[str, Any]:
        metric = CHRF(**options)
        result = metric.corpus_score(predictions, _reference_streams(references))
        return {"chrf": result.score, "signature": str(metric.get_signature())}


class SentenceBLEU(_TranslationMetric):
    """BLEU of each sentence alone, and the mean over the sentences, computed as sacrebleu recommends for sentences.

    Counts of zero are smoothed exponentially (`smooth:exp` in the signature), and n-grams that are longer than the
    prediction do not count (`eff:yes`).

    `compute` returns `sentence_bleu` (the mean), `scores` (a float for each sentence) and `signature`. Further
    keyword arguments of `compute` go to `sacrebleu.metrics.BLEU`.
    """

    def _compute(self, *, predictions: list[str], references: list, **options: Any) -> dict[str, Any]:
        metric, choices = BLEU(**{"effective_order": True, **options}), _as_lists(references)
        scores = [metric.sentence_score(*pair).score for pair in zip(predictions, choices, strict=True)]
        counts = {len(choice) for choice in choices}
        metric.num_refs = counts.pop() if len(counts) == 1 else -1  # for sacrebleu, -1 means that this number varies
        return {
            "sentence_bleu": sum(scores) / len(scores),
            "scores": scores,
            "signature": str(metric.get_signature()),
        }


def translation_metrics(
    predictions: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]
) -> dict[str, float | str]:
    """Corpus BLEU, chrF and mean sentence BLEU (0-100) of `predictions`, each with its signature.

    The keys are `bleu`, `chrf` and `sentence_bleu`, and the same names with the suffix `_signature`.
    Raises `InputError` if there are no predictions, or if the numbers of predictions and references differ.
    """
    results: dict[str, float | str] = {}
    for name, metric in {"bleu": CorpusBLEU(), "chrf": ChrF(), "sentence_bleu": SentenceBLEU()}.items():
        result = metric.compute(predictions=predictions, references=references)
        results |= {name: result[name], f"{name}_signature": result["signature"]}
    return results


def _as_lists(references: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    lists = [[choices] if isinstance(choices, str) else list(choices) for choices in references]
    if [] in lists:
        raise InputError(f"Prediction {lists.index([]) + 1} has an empty list of references: give at least one.")
    return lists


def _reference_streams(references: Sequence[str] | Sequence[Sequence[str]]) -> list[tuple[Any, ...]]:
    """A tuple of the first reference of each prediction, a tuple of the second ones, …; `None` where one is missing."""
    return list(zip_longest(*_as_lists(references)))
