# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BPE dropout: a random segmentation of a text at each encoding (Provilkov et al. 2020, arXiv:1910.13267).

The `tokenizers` library has BPE dropout too, but draws from a generator that cannot be seeded, so that a training run
could not be repeated. It also drops fewer merges than the paper's algorithm, because stale entries of its queue bring
some dropped merges back.
"""

import json
import math
from heapq import heapify, heappop, heappush
from itertools import pairwise
from random import Random

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_CACHED_WORDS = 2**16
_GONE = -1  # takes the place of a symbol that was merged into the symbol before it


class BPEDropout:
    """Encodes text with a byte-level BPE tokenizer, dropping merges at random (Provilkov et al. 2020, algorithm 1).

    A word starts as its bytes. At each step, every possible merge is dropped with probability `dropout`. Of the
    remaining merges, the merge of the lowest rank is applied, and of several such merges the leftmost. The word is done
    when no merge remains.

    Args:
        tokenizer: a tokenizer of kind `bpe` as `train_tokenizer` makes it.
        dropout: the probability that a merge is dropped; 0 encodes as the tokenizer does, 1 gives single bytes.

    Raises:
        ValueError: `dropout` is outside [0, 1], or the tokenizer is not a byte-level BPE tokenizer that adds an end
            token, and nothing else, to a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, dropout: float):
        if not 0 <= dropout <= 1:
            raise ValueError(f"BPE dropout is {dropout}, but must be a probability from 0 to 1.")
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(
                f"BPE dropout needs a byte-level BPE tokenizer, but this tokenizer is a {type(tokenizer).__name__}: "
                "train a tokenizer of kind 'bpe', or set the dropout to 0."
            )
        backend = tokenizer.backend_tokenizer
        model = json.loads(backend.to_str())["model"]
        vocab = model["vocab"]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if model["type"] != "BPE" or not all(symbol in vocab for symbol in alphabet):
            raise ValueError(
                f"BPE dropout needs a byte-level BPE tokenizer, but this {model['type']} tokenizer is not byte-level "
                "BPE: train a tokenizer of kind 'bpe', or set the dropout to 0."
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
                "BPE dropout needs a tokenizer that encodes text as byte-level BPE and appends </s>, but this "
                "tokenizer encodes a test text differently: train a tokenizer of kind 'bpe', or set the dropout to 0."
            )

    def encode(self, text: str, rng: Random) -> list[int]:
        """Encode `text` as token ids, with the end token last; draws from `rng` decide which merges are dropped."""
        return self._encode(text, self._draw(rng), rng)

    def _draw(self, rng: Random) -> float:
        """Draw the number of merges that are kept before the next merge is dropped.

        The number has a geometric distribution, so that one draw serves many merges.
        """
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
        """Return the token ids of one word, which is given as byte symbols, and the new value of `kept`.

        `kept` is the number of merges that are kept before the next merge is dropped. In each step, the queue yields
        the possible merges by rank; they are dropped until a merge is kept, and this merge is applied. The result is
        the same as if each possible merge were dropped or kept, and then the kept merge of the lowest rank applied.
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
                continue  # another merge has changed one of the two symbols of this merge
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
            for entry in dropped:  # the next step draws again for these merges
                heappush(queue, entry)
            dropped.clear()
        return [symbol for symbol in symbols if symbol != _GONE], kept
