# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A text-to-text model that runs in CTranslate2, with the interface of transformers' `generate`."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from transformers.generation import GenerateBeamEncoderDecoderOutput
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

from locant.configuration import LocantConfig
from locant.utils.errors import reason_of

from ..errors import SharingError
from .requirements import needs

WEIGHTS_FILE = "model.bin"
VOCABULARY_FILE = "shared_vocabulary.json"
SECTION = "ctranslate2"
"""The field of `config.json` that describes the export, beside the fields of Locant and CTranslate2."""

# Generation option -> name of the option in CTranslate2, and the value for CTranslate2 if the option is not set
_SETTINGS = {
    "num_beams": ("beam_size", 1),
    "num_return_sequences": ("num_hypotheses", 1),
    "length_penalty": ("length_penalty", 1.0),
    "no_repeat_ngram_size": ("no_repeat_ngram_size", 0),
    "min_new_tokens": ("min_decoding_length", 0),
}
# Other generation options: the code below reads some of them, and accepts the others although they have no effect
_OTHERS = {
    *("max_new_tokens", "max_length", "early_stopping", "bad_words_ids"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_eos_token_id"),
    *("transformers_version", "use_cache", "cache_implementation", "renormalize_logits", "_from_model_config"),
    *("return_dict_in_generate", "output_scores", "output_logits"),
    *("temperature", "top_k", "top_p", "typical_p"),  # only sampling uses them, and do_sample is refused
}
# Generation options that have no effect if they are 1
_NEUTRAL_AT_ONE = {"repetition_penalty", "encoder_repetition_penalty", "num_beam_groups"}


def is_exported(folder: str | os.PathLike[str]) -> bool:
    """Return whether `folder` holds a model for CTranslate2."""
    return (Path(folder) / WEIGHTS_FILE).is_file()


def check_search_options(settings: dict[str, Any]) -> None:
    """Raise `SharingError` if one of the generation options `settings` has no counterpart in CTranslate2."""
    for name, value in settings.items():
        neutral = (None, False, 1) if name in _NEUTRAL_AT_ONE else (None, False)
        if name not in _SETTINGS and name not in _OTHERS and value not in neutral:
            raise SharingError(
                f"The search option {name} has no counterpart in CTranslate2: leave it out, or generate with the "
                "original model in PyTorch."
            )


def start_token_id(config: LocantConfig, generation_config: GenerationConfig) -> int | None:
    """Return the id of the token with which the decoder starts: as in transformers, that of the generation config."""
    start = generation_config.decoder_start_token_id
    return config.decoder_start_token_id if start is None else start


class CTranslate2Model:
    """Runs a text-to-text model that `export` wrote for CTranslate2; `generate` works like that of the Locant model.

    Args:
        folder: the folder of the export.
        device: `cpu`, `cuda`, or one GPU of several, such as `cuda:1`; by default a GPU if there is one. On a CPU, the
            sentences of a batch are divided among as many workers as torch has threads.
        compute_type: CTranslate2's name for the type of numbers that it computes with, such as `int8_float32`; by
            default the type of the stored weights or, if the device does not support it, a type that CTranslate2
            chooses.

    Raises:
        SharingError: `folder` holds no export, CTranslate2 cannot load the export with this device and type, or
            CTranslate2 is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], device: str | None = None, compute_type: str | None = None):
        ctranslate2 = needs("ctranslate2")
        if not is_exported(folder):
            raise SharingError(f"{folder} holds no {WEIGHTS_FILE}: give the folder that locant export wrote.")
        if device is None:
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        kind, _, index = device.partition(":")
        # on a CPU, several workers of one thread are faster than one worker of several threads, because the threads of
        # a worker wait for each other after every matrix product
        self._workers = torch.get_num_threads() if kind == "cpu" else 1
        try:
            self.translator = ctranslate2.Translator(
                str(folder),
                device=kind,
                device_index=int(index or 0),
                compute_type=compute_type or "default",
                inter_threads=self._workers,
                intra_threads=1,
            )
        except (RuntimeError, ValueError) as error:
            raise SharingError(f"CTranslate2 does not load {folder} ({str(error).strip()}).") from error
        try:
            fields = json.loads((Path(folder) / CONFIG_NAME).read_text(encoding="utf-8"))
            settings = fields[SECTION]
            self._tokens: list[str] = json.loads((Path(folder) / VOCABULARY_FILE).read_text(encoding="utf-8"))
            self.source_prefix: str = settings["source_prefix"]
            self._limits: dict[str, int | None] = settings["positions"]
            self.config = LocantConfig.from_dict(fields)
            self.generation_config = GenerationConfig.from_pretrained(folder)
        except (OSError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
            raise SharingError(
                f"{folder} has {WEIGHTS_FILE}, but {CONFIG_NAME} with the field {SECTION}, {GENERATION_CONFIG_NAME} or "
                f"{VOCABULARY_FILE} is missing or damaged ({reason_of(error)}): give the folder that locant export "
                "wrote."
            ) from error
        self._start = start_token_id(self.config, self.generation_config)
        self._ids = {token: number for number, token in enumerate(self._tokens)}
        self.device = torch.device("cpu")  # the device of `input_ids` and of the results

    def eval(self) -> "CTranslate2Model":
        """Return this model unchanged, because it has no training mode."""
        return self

    def get_encoder(self) -> Any:
        """Return an object whose `position.limit` is the largest number of source tokens, or None for no limit."""
        return SimpleNamespace(position=SimpleNamespace(limit=self._limits["encoder"]))

    def get_decoder(self) -> Any:
        """Return an object whose `position.limit` is the largest number of target tokens, or None for no limit."""
        return SimpleNamespace(position=SimpleNamespace(limit=self._limits["decoder"]))

    def generate(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any
    ) -> GenerateBeamEncoderDecoderOutput:
        """Generate texts for a batch, by greedy search or beam search.

        The search differs from that of transformers in three points. It always ends when there are as many finished
        sequences as beams, as with `early_stopping=True`. It excludes forbidden tokens before the softmax, as with
        `renormalize_logits=True`. `forced_eos_token_id` has no effect on the search; afterwards it replaces the last
        token of each sequence that has the maximum length.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 0 at padding tokens, which are left out.
            options: override fields of `generation_config`: `num_beams`, `num_return_sequences`, `length_penalty`,
                `max_new_tokens`, `max_length`, `min_new_tokens`, `no_repeat_ngram_size`, `bad_words_ids`,
                `eos_token_id`, `forced_eos_token_id`, `renormalize_logits` (for scores only), `output_scores` and
                `output_logits` (either of them asks for scores).

        Returns:
            An output with two fields:

            - `sequences` `(batch · num_return_sequences, length)`, each from the decoder's start token on.
            - `sequences_scores` `(batch · num_return_sequences,)`: in beam search, the log-probability of a sequence
              divided by (number of tokens) ** length_penalty; in greedy search, the log-probability. None if no scores
              are asked for.

            Log-probabilities are those of the model, as in transformers, except in two cases. In beam search with
            `renormalize_logits=True`, and for sequences that fill the position table without an end token, scores are
            those of CTranslate2's search.

        Raises:
            SharingError: one of the options has no counterpart in CTranslate2.
        """
        settings = {**self.generation_config.to_diff_dict(), **options}
        search = self._search(settings)
        sources = [
            [self._tokens[number] for number in row[seen.bool()].tolist()]
            for row, seen in zip(input_ids, attention_mask, strict=True)
        ]
        search["max_batch_size"] = self._batch_size(len(sources))
        results = self.translator.translate_batch(sources, max_input_length=0, return_end_token=True, **search)
        hypotheses = [
            [self._ids[token] for token in hypothesis] for result in results for hypothesis in result.hypotheses
        ]
        forced = settings.get("forced_eos_token_id")
        if forced is not None:
            limit, end = search["max_decoding_length"], forced[0] if isinstance(forced, list) else forced
            hypotheses = [[*found[: limit - 1], end] if len(found) == limit else found for found in hypotheses]
        sequences = [torch.tensor([self._start, *hypothesis]) for hypothesis in hypotheses]
        scores = [score for result in results for score in result.scores]
        if scores and self._renormalizes(search, settings):
            repeated = [source for source, result in zip(sources, results, strict=True) for _ in result.hypotheses]
            found = self._model_scores(repeated, hypotheses, search, is_forced=forced is not None)
            scores = [of_search if score is None else score for score, of_search in zip(found, scores, strict=True)]
        padded: Any = pad_sequence(sequences, batch_first=True, padding_value=self.config.pad_token_id or 0)
        return GenerateBeamEncoderDecoderOutput(
            sequences=padded,
            sequences_scores=torch.tensor(scores) if scores else None,
        )

    def log_probabilities(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Compute the log-probability of each token of each target, given the source and the target's earlier tokens.

        Args:
            sources: the token ids of each source, without padding.
            targets: the token ids of each target, without padding and without the decoder's start token. An end token
                at the end of a target is scored like the other tokens.
        """
        texts = [[self._tokens[number] for number in source] for source in sources]
        return self._token_scores(texts, [[self._tokens[number] for number in target] for target in targets])

    def _token_scores(self, sources: list[list[str]], targets: list[list[str]]) -> list[list[float]]:
        [end, *_] = self._end_tokens({})
        # CTranslate2 itself adds an end token to each target, and scores this token too
        prefixes = [target[:-1] if target[-1:] == [end] else target for target in targets]
        batch_size = self._batch_size(len(sources))
        results = self.translator.score_batch(sources, prefixes, max_input_length=0, max_batch_size=batch_size)
        return [result.log_probs[: len(target)] for result, target in zip(results, targets, strict=True)]

    def _batch_size(self, sentences: int) -> int:
        """Return the number of sentences in a batch if `sentences` sentences are divided evenly among the workers."""
        return math.ceil(sentences / self._workers)

    def _renormalizes(self, search: dict[str, Any], settings: dict[str, Any]) -> bool:
        """Return whether the scores of CTranslate2's search must be replaced by log-probabilities of the model.

        The two differ if the search forbids tokens: CTranslate2 excludes forbidden tokens before its softmax, which
        raises the probabilities of all other tokens. The two also differ if an end token is forced after the search.
        In beam search with `renormalize_logits=True`, transformers computes scores as CTranslate2 does, so the scores
        of CTranslate2's search are kept.
        """
        if search["beam_size"] > 1 and settings.get("renormalize_logits"):
            return False
        restrictions = [search[name] for name in ("min_decoding_length", "no_repeat_ngram_size", "suppress_sequences")]
        return any(restrictions) or settings.get("forced_eos_token_id") is not None

    def _model_scores(
        self, sources: list[list[str]], hypotheses: list[list[int]], search: dict[str, Any], is_forced: bool
    ) -> list[float | None]:
        """Compute the log-probability of each hypothesis under the model, divided by length ** `length_penalty`.

        The score is None for a hypothesis that fills the position table and has no end token: `score_batch` also scores
        an end token after the hypothesis, for which the table has no position left.
        """
        [end, *_] = self._end_tokens({})
        limit = self._limits["decoder"]
        targets = [[self._tokens[number] for number in hypothesis] for hypothesis in hypotheses]
        able = [i for i, target in enumerate(targets) if limit is None or len(target) - (target[-1] == end) < limit]
        found = self._token_scores([sources[i] for i in able], [targets[i] for i in able])
        scores: list[float | None] = [None] * len(targets)
        for i, values in zip(able, found, strict=True):
            length = len(targets[i])
            if is_forced and search["beam_size"] > 1 and length == search["max_decoding_length"]:
                values = values[:-1]  # in transformers' beam search, a forced end token has the log-probability 0
            scores[i] = sum(values) / length ** search["length_penalty"]
        return scores

    def _search(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Convert the generation options `settings` to arguments of CTranslate2's `translate_batch`."""
        check_search_options(settings)
        if settings.get("decoder_start_token_id") not in (None, self._start):
            raise SharingError(
                f"decoder_start_token_id={settings['decoder_start_token_id']}, but the exported model always starts "
                f"with {self._start}: leave the option out, or set it in the generation config and export again."
            )
        search = {ours: settings.get(name) or default for name, (ours, default) in _SETTINGS.items()}
        if settings.get("length_penalty") is not None:
            # a length penalty of 0 is valid, but the operator `or` above replaces it with the default 1.0
            search["length_penalty"] = settings["length_penalty"]
        if search["beam_size"] == 1:
            search["length_penalty"] = 0.0
        limit = settings.get("max_new_tokens")
        if limit is None:
            limit = (settings.get("max_length") or 257) - 1  # max_length counts the start token
        words = settings.get("bad_words_ids") or []
        return search | {
            "max_decoding_length": limit,
            "suppress_sequences": [[self._tokens[number] for number in word] for word in words],
            "end_token": self._end_tokens(settings),
            "return_scores": bool(settings.get("output_scores") or settings.get("output_logits")),
        }

    def _end_tokens(self, settings: dict[str, Any]) -> list[str]:
        ends: Any = settings.get("eos_token_id", self.config.eos_token_id)
        return [self._tokens[number] for number in (ends if isinstance(ends, list) else [ends])]
