# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Makes word alignments from attention between tokens, and symmetrises the alignments of two directions."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .sequences import Sequence, membership

Links = frozenset[tuple[int, int]]
"""Pairs of the index of a source word and the index of a target word, both counted from 0."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The alignment of a sentence with its translation.

    Args:
        source, target: the words of both texts; words are separated by whitespace.
        weights: the attention of each target word to each source word, `(target words, source words)`.
        links: the aligned pairs of words.
    """

    source: list[str]
    target: list[str]
    weights: np.ndarray
    links: Links

    @property
    def pharaoh(self) -> str:
        """The links in Pharaoh format: `0-0 1-2` links source words 0 and 1 to target words 0 and 2."""
        return " ".join(f"{source}-{target}" for source, target in sorted(self.links))


def word_attention(attention: np.ndarray, queries: Sequence, keys: Sequence) -> np.ndarray:
    """Convert attention between tokens to attention between words.

    The weights are summed over the tokens of a key word, and averaged over the tokens of a query word.

    This is the conversion of Clark et al. 2019, "What Does BERT Look At?", section 4.1. Special tokens belong to no
    word, so the attention of a word to all words may sum to less than 1.

    Args:
        attention: the attention weights `(…, query tokens, key tokens)`.
        queries, keys: the sequences that the query tokens and the key tokens belong to.

    Returns:
        `(…, query words, key words)`; 0 for words without tokens.
    """
    of_queries, of_keys = membership(queries), membership(keys)
    of_queries /= of_queries.sum(axis=1, keepdims=True).clip(min=1)
    return of_queries @ attention @ of_keys.T


def strongest_links(weights: np.ndarray) -> Links:
    """Link each target word to the source word with the largest weight, if this weight is above 0.

    Args:
        weights: the attention weights `(target words, source words)`.
    """
    if not weights.size:
        return frozenset()
    return frozenset((int(row.argmax()), number) for number, row in enumerate(weights) if row.max() > 0)


def grow_diag_final_and(forward: Links, reverse: Links) -> Links:
    """Symmetrise the links of two directions by the heuristic grow-diag-final-and.

    The heuristic is that of Koehn et al. 2005, "Edinburgh System Description for the 2005 IWSLT Speech Translation
    Evaluation".

    The result starts as the intersection of both directions. A link of the union of both directions is added if it
    neighbours a link of the result, also diagonally, and its source word or its target word has no link yet. This step
    is repeated until no link is added. Finally, a link of either direction is added if both its source word and
    its target word have no link yet.

    Args:
        forward, reverse: the links of each direction; a link is the pair (source word, target word) in both.
    """
    union, links = forward | reverse, set(forward & reverse)
    has_grown = True
    while has_grown:
        has_grown = False
        for source, target in sorted(links):
            for neighbour in sorted((source + i, target + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if neighbour in union - links and not all(_are_linked(neighbour, links)):
                    links.add(neighbour)
                    has_grown = True
    for direction in (forward, reverse):
        for link in sorted(direction):
            if not any(_are_linked(link, links)):
                links.add(link)
    return frozenset(links)


def _are_linked(link: tuple[int, int], links: Iterable[tuple[int, int]]) -> tuple[bool, bool]:
    """Return whether the source word of `link` has a link in `links`, and whether its target word has one."""
    sources, targets = zip(*links, strict=True) if links else ((), ())
    return link[0] in sources, link[1] in targets
