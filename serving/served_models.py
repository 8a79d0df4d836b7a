# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Computes batches of texts with a translator or a text classifier, as `locant translate` and `locant predict` do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from locant.configuration import LocantConfig
from locant.training.errors import InputError
from locant.training.inference import Translation, new_tokens_limit, position_limit, smallest, translate

_SCORE_BYTES = 2**30  # the largest number of bytes of all score tensors that `generate` keeps for a batch


@dataclass(frozen=True)
class TranslatedText:
    """The translations of a text, best first, and the number of tokens of the text with the source prefix."""

    translations: list[Translation]
    source_tokens: int


@dataclass(frozen=True)
class ClassifiedText:
    """The probability of each label for a text, the most probable label first.

    Args:
        scores: pairs of label and probability; for a regression model, one pair with the predicted number; empty for a
            blank text.
        source_tokens: the number of tokens that the model read.
        is_cut: whether the text has more tokens than the model read.
    """

    scores: list[tuple[str, float]]
    source_tokens: int
    is_cut: bool


class ServedTranslator:
    """Translates batches of texts with a sequence-to-sequence model of transformers or with a CTranslate2 model.

    Args:
        model: a model that `locant.training.inference.load` loaded, or a `CTranslate2Model`.
        tokenizer: the tokenizer of the model.
        source_prefix: the text that is put before every source.
    """

    task = "translation"

    def __init__(self, model: Any, tokenizer: Any, source_prefix: str = ""):
        self.model = model
        self.tokenizer = tokenizer
        self.source_prefix = source_prefix
        self._longest_source = _table_size(model, tokenizer, "source")
        self._longest_target = _table_size(model, tokenizer, "target")

    def compute(self, texts: Sequence[str], options: dict[str, Any]) -> list[TranslatedText | InputError]:
        """Translate texts in one batch, or in several batches if one batch might take too much memory.

        There are several batches if scores are asked for and their tensors would take more than `_SCORE_BYTES` in one
        batch, or if a text has more than 512 tokens.

        Args:
            texts: the texts.
            options: `scores`, whether to compute scores (no by default), and keyword arguments of `translate_stream`.

        Returns:
            For each text its translations, or an error if the text has more tokens than the model has positions.

        Raises:
            InputError: `options` ask for more translations than the search finds.
        """
        search = dict(options)
        with_scores = search.pop("scores", False)
        if self._longest_target is not None and "max_new_tokens" in search:
            search["max_new_tokens"] = min(search["max_new_tokens"], self._longest_target)
        lengths = _lengths(self.tokenizer, [self.source_prefix + text for text in texts])
        fitting = [i for i, length in enumerate(lengths) if not self._is_too_long(length)]
        found = translate(
            self.model,
            self.tokenizer,
            [texts[i] for i in fitting],
            batch_size=self._batch_size(search, lengths) if with_scores else len(texts),
            source_prefix=self.source_prefix,
            show_progress=False,
            with_scores=with_scores,
            **search,
        )
        results: list[TranslatedText | InputError] = [self._error(length) for length in lengths]
        for i, translations in zip(fitting, found, strict=True):
            results[i] = TranslatedText(translations, lengths[i])
        return results

    def _batch_size(self, search: dict[str, Any], lengths: Sequence[int]) -> int:
        """Return the largest batch size at which all score tensors together take at most `_SCORE_BYTES`; at least 1.

        `generate` keeps a float32 score for each text, beam, step and token of the vocabulary.
        """
        config = self.model.generation_config
        beams = search.get("num_beams") or config.num_beams or 1
        steps = new_tokens_limit(self.model, max(lengths), search).get("max_new_tokens") or config.max_length
        return max(1, _SCORE_BYTES // (4 * beams * steps * len(self.tokenizer)))

    def _is_too_long(self, length: int) -> bool:
        return self._longest_source is not None and length > self._longest_source

    def _error(self, length: int) -> InputError:
        return InputError(
            f"A text has {length} tokens, but the model reads at most {self._longest_source}: split the text."
        )


class ServedClassifier:
    """Classifies batches of texts with a text-classification pipeline of transformers.

    Args:
        pipe: the pipeline.
        max_length: the number of tokens to which a longer text is cut, as in training; None to cut only texts that have
            more tokens than the model has positions.
    """

    task = "text-classification"

    def __init__(self, pipe: Any, max_length: int | None = None):
        self.model = pipe.model
        self._pipe = pipe
        self._max_length = smallest(max_length, _table_size(pipe.model, pipe.tokenizer, "source"))

    def compute(self, texts: Sequence[str], options: dict[str, Any]) -> list[ClassifiedText]:
        """Classify texts in one batch; `options` has no effect."""
        results = [ClassifiedText([], 0, is_cut=False)] * len(texts)
        filled = [i for i, text in enumerate(texts) if text.strip()]
        if not filled:
            return results
        given = [texts[i] for i in filled]
        lengths = _lengths(self._pipe.tokenizer, given)
        cut = {} if self._max_length is None else {"truncation": True, "max_length": self._max_length}
        found = self._pipe(given, batch_size=len(given), top_k=self.model.config.num_labels, **cut)
        for i, length, labels in zip(filled, lengths, found, strict=True):
            read = min(length, self._max_length or length)
            results[i] = ClassifiedText([(one["label"], one["score"]) for one in labels], read, is_cut=read < length)
        return results


def _lengths(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text."""
    return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]


def _table_size(model: Any, tokenizer: Any, side: str) -> int | None:
    """Return the largest number of tokens that a model's encoder (`side` "source") or decoder ("target") can read.

    For a Locant model, this number is the size of its learned position table. Other models raise no error that names
    the limit if a text is too long, so this function reads their limit from the config and the tokenizer. The result is
    None if no limit is found.
    """
    limits = [position_limit(model, side)]
    if not isinstance(model.config, LocantConfig):
        limits.append(getattr(model.config, "max_position_embeddings", None))
        if side == "source":
            limits.append(tokenizer.model_max_length)
    # a tokenizer without a limit has model_max_length 1e30, and an XLNet config has max_position_embeddings -1
    return min((limit for limit in limits if limit is not None and 0 < limit < VERY_LARGE_INTEGER), default=None)
