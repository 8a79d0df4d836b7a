# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Generates data that no model can learn without position information: pairs of sentences, sequences of letters."""

import itertools
import random
from dataclasses import dataclass
from typing import NamedTuple

import torch

PAD, BEGIN, END = 0, 1, 2
IGNORE = -100

_NOUNS = {
    **{"cat": "chat", "dog": "chien", "king": "roi", "boy": "gars", "fox": "renard", "bear": "ours", "wolf": "loup"},
    **{"rabbit": "lapin", "sheep": "mouton", "bird": "oiseau", "fish": "poisson", "father": "père", "uncle": "oncle"},
    **{"baker": "boulanger", "monk": "moine", "thief": "voleur"},
}
_VERBS = {
    **{"sees": "voit", "follows": "suit", "hears": "entend", "likes": "aime", "helps": "aide", "finds": "trouve"},
    **{"calls": "appelle", "fears": "craint"},
}

_VOCABULARY = [*_NOUNS, *_VERBS, *_NOUNS.values(), *_VERBS.values()]
ORDER_VOCABULARY_SIZE = END + 1 + len(_VOCABULARY)
ORDER_LENGTH = 4  # three words and the end token
_IDS = {word: number for number, word in enumerate(_VOCABULARY, start=END + 1)}


class Pair(NamedTuple):
    """Two sentences of the same words, such as "cat sees dog" and "dog sees cat", each with its translation."""

    sources: tuple[str, str]
    targets: tuple[str, str]


def sentence_pairs(held_out: float = 0.2) -> tuple[list[Pair], list[Pair]]:
    """Split all pairs of sentences into training and test pairs. No training pair has the three words of a test pair.

    Args:
        held_out: the number of test pairs divided by the number of all pairs.
    """
    triples = list(itertools.product(itertools.combinations(_NOUNS, 2), _VERBS))
    random.Random(0).shuffle(triples)
    pairs = [_pair(*nouns, verb) for nouns, verb in triples]
    number = round(held_out * len(pairs))
    return pairs[number:], pairs[:number]


def _pair(one: str, other: str, verb: str) -> Pair:
    source, target = f"{{}} {verb} {{}}", f"{{}} {_VERBS[verb]} {{}}"
    translated = _NOUNS[one], _NOUNS[other]
    return Pair(
        sources=(source.format(one, other), source.format(other, one)),
        targets=(target.format(*translated), target.format(*reversed(translated))),
    )


def encode(sentences: list[str]) -> torch.Tensor:
    """Encode sentences with equal numbers of words as ids `(sentences, words + 1)`; the end token is last in each.

    The end token matters: without it, the sentences of a pair are mirror images of each other, which a symmetric
    position encoding cannot tell apart.
    """
    return torch.tensor([[*(_IDS[word] for word in sentence.split()), END] for sentence in sentences])


@dataclass(frozen=True)
class LetterTask:
    """A task on sequences of random letters: at each position, the model answers questions about the letters nearby.

    Some letters of the alphabet are marked letters. The answer to each question is a letter:

    - `before`: which letter is `offset` positions before? The model needs an exact distance and its direction.
    - `nearest`: which marked letter is the nearest, on either side? The model only needs to tell near from far.

    Args:
        letters: the number of letters in the alphabet, including the marked letters.
        marked: the number of marked letters.
        marked_share: the probability with which a drawn letter is a marked letter.
        offset: the distance of the question `before`.
    """

    letters: int = 16
    marked: int = 8
    marked_share: float = 0.125
    offset: int = 4

    questions = ("before", "nearest")

    def draw(self, generator: torch.Generator, number: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw letters `(number, length)` and answers `(questions, number, length)`; `length` must be at least 2.

        The answer is `IGNORE` if a question has no certain answer. For `before`, this is so at the first `offset`
        positions. For `nearest`, it is so at marked letters, at positions between two different marked letters that are
        equally near, and in sequences without a marked letter.
        """
        shape = (number, length)
        is_marked = torch.rand(shape, generator=generator) < self.marked_share
        plain = torch.randint(self.marked, self.letters, shape, generator=generator)
        ids = torch.where(is_marked, torch.randint(self.marked, shape, generator=generator), plain)
        return ids, torch.stack([self._before(ids), self._nearest(ids)])

    def _before(self, ids: torch.Tensor) -> torch.Tensor:
        answers = torch.full_like(ids, IGNORE)
        answers[:, self.offset :] = ids[:, : -self.offset]
        return answers

    def _nearest(self, ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1])
        is_marked = ids < self.marked
        distance = (places[:, None] - places).abs().where(is_marked[:, None], ids.shape[1])
        (first, second), (nearest, other) = (
            found.unbind(-1) for found in distance.topk(2, dim=-1, largest=False, sorted=True)
        )
        nearest, other = ids.gather(1, nearest), ids.gather(1, other)
        is_uncertain = (first == second) & (nearest != other) | (first == ids.shape[1]) | is_marked
        return nearest.masked_fill(is_uncertain, IGNORE)
