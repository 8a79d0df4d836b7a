# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BPE dropout: another segmentation of the same text each time (Provilkov et al. 2020, arXiv:1910.13267).

The dropout of the `tokenizers` library draws from a generator that cannot be seeded, so no training run could
be repeated with it, and it drops fewer merges than the paper: stale entries of its queue bring some back.
"""

import json
import math
from heapq import heapify, heappop, heappush
from itertools import pairwise
from random import Random

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_CACHED_WORDS = 2**16
_GONE = -1  # stands where a piece was that is now part of the one before it


class BPEDropout:
    """Encodes text with a byte-level BPE tokenizer, dropping merges at random (algorithm 1 of the paper).

    A word starts as its bytes. At each step every possible merge is dropped with probability `dropout`, and
    the first of those left, by rank and then from the left, is applied; the word is done when none is left.

    Args:
        tokenizer: a tokenizer of kind `bpe` as `train_tokenizer` makes it.
        dropout: the probability; 0 encodes as the tokenizer does, 1 gives single bytes.

    Raises:
        ValueError: for a dropout outside [0, 1], or a tokenizer beyond byte-level BPE and `</s>`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, dropout: float):
        if not 0 <= dropout <= 1:
            raise ValueError(f"BPE dropout is {dropout}, but a probability lies between 0 and 1.")
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(
                f"BPE dropout needs a byte-level BPE tokenizer, and this one is {type(tokenizer).__name__}: "
                "train one of kind 'bpe', or set the dropout to 0."
            )
        backend = tokenizer.backend_tokenizer
        model = json.loads(backend.to_str())["model"]
        vocab = model["vocab"]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if model["type"] != "BPE" or not all(symbol in vocab for symbol in alphabet):
            raise ValueError(
                f"BPE dropout needs a byte-level BPE tokenizer, and this one is {model['type']}: "
                "train one of kind 'bpe', or set the dropout to 0."
            )
        self.dropout = dropout
        self._normalizer = backend.normalizer
        self._pre_tokenizer = backend.pre_tokenizer
        self._eos = tokenizer.eos_token_id
        self._bytes = {symbol: vocab[symbol] for symbol in alphabet}
        self._merges = {
            (vocab[left], vocab[right]): (rank, vocab[left + right])
            for rank, (left, right) in enumerate(model["merges"])
        }
        self._log_keep = math.log1p(-dropout) if dropout < 1 else -math.inf
        self._whole_words: dict[str, list[int]] = {}

        probe = " ".join(["L'été, I\u2019m 12\t\u2003\U0001f642", *tokenizer.get_added_vocab()])
        if self._encode(probe, math.inf, Random(0)) != tokenizer(probe)["input_ids"]:
            raise ValueError(
                "BPE dropout needs a tokenizer that encodes text as byte-level BPE and appends </s>, and "
                "this one does something else as well: train one of kind 'bpe', or set the dropout to 0."
            )

    def encode(self, text: str, rng: Random) -> list[int]:
        """Token ids of `text`, `</s>` at the end, with merges dropped by draws from `rng`."""
        return self._encode(text, self._draw(rng), rng)

    def _draw(self, rng: Random) -> float:
        """How many merges are kept until the next is dropped: geometric, so one draw serves many merges."""
        return math.log(1.0 - rng.random()) // self._log_keep if self.dropout else math.inf

    def _encode(self, text: str, kept: float, rng: Random) -> list[int]:
        if self._normalizer is not None:
            text = self._normalizer.normalize_str(text)
        ids: list[int] = []
        for word, _ in self._pre_tokenizer.pre_tokenize_str(text):
            whole = self._whole_words.get(word)
            if whole is None:
                whole, _ = self._merge(word, math.inf, rng)
                if len(self._whole_words) == _CACHED_WORDS:
                    self._whole_words.clear()
                self._whole_words[word] = whole
            merges = len(word) - len(whole)
            if kept >= merges:  # nothing is dropped in this word
                kept -= merges
                ids += whole
            else:
                pieces, kept = self._merge(word, kept, rng)
                ids += pieces
        ids.append(self._eos)
        return ids

    def _merge(self, word: str, kept: float, rng: Random) -> tuple[list[int], float]:
        """The pieces of one word of byte symbols, and what then remains of `kept`.

        The queue yields the possible merges by rank, and each is tried until one is kept: that is the same as
        dropping some of all, then applying the first that is left.
        """
        merges = self._merges
        symbols = [self._bytes[symbol] for symbol in word]
        end = len(symbols)
        following = list(range(1, end + 1))
        preceding = list(range(-1, end - 1))
        queue = [
            (*merge, left) for left, pair in enumerate(pairwise(symbols)) if (merge := merges.get(pair)) is not None
        ]
        heapify(queue)
        dropped = []
        while queue:
            entry = heappop(queue)
            rank, merged, left = entry
            right = following[left]
            if right == end or merges.get((symbols[left], symbols[right]), (None,))[0] != rank:
                continue  # one of its two pieces has gone into another merge
            if kept < 1:
                kept = self._draw(rng)
                dropped.append(entry)
                continue
            kept -= 1
            symbols[left] = merged
            symbols[right] = _GONE
            after = following[left] = following[right]
            if after != end:
                preceding[after] = left
                if (merge := merges.get((merged, symbols[after]))) is not None:
                    heappush(queue, (*merge, left))
            before = preceding[left]
            if before >= 0 and (merge := merges.get((symbols[before], merged))) is not None:
                heappush(queue, (*merge, before))
            for entry in dropped:  # each step drops anew
                heappush(queue, entry)
            dropped.clear()
        return [symbol for symbol in symbols if symbol != _GONE], kept
