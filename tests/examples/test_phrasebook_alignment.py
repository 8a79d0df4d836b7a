# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The links between content words, on sentences that were aligned by hand, and the share of them that is found."""

import importlib
import sys
from pathlib import Path

import pytest

from locant.visualization.alignment import Alignment


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
        patch.delitem(sys.modules, "phrasebook", raising=False)
        yield importlib.import_module("phrasebook_alignment")


@pytest.mark.parametrize(
    ("english", "french", "expected"),
    [
        ("The old king's dog sleeps.", "Le vieux chien du roi dort.", {(1, 1), (2, 4), (3, 2), (4, 5)}),
        ("The man has eaten.", "L'homme a mangé.", {(1, 0)}),  # "have" is an auxiliary; "eaten" is not in the lexicon
        (
            "Did the prince find two keys?",
            "Est-ce que le prince a trouvé deux clés ?",
            {(2, 3), (3, 5), (4, 6), (5, 7)},
        ),
        ("This man's sister loves the men.", "La sœur de cet homme aime les hommes.", {(1, 4), (2, 1), (3, 5), (5, 7)}),
        (
            "Tomorrow, she is going to buy a red hat.",
            "Demain, elle va acheter un chapeau rouge.",
            {(0, 0), (5, 3), (7, 6), (8, 5)},
        ),
        (
            "The horses are older than the cows.",
            "Les chevaux sont plus vieux que les vaches.",
            {(1, 1), (3, 4), (6, 7)},
        ),
    ],
)
def test_content_words_are_linked_as_by_hand(example, english, french, expected):
    assert set(example.content_links(example.Pair(english, french))) == expected


def test_every_pair_of_the_grammar_has_as_many_forms_in_both_languages(example):
    pairs = example.grammar.generate_pairs(1000)
    links = [example.content_links(pair) for pair in pairs]  # raises ValueError if the numbers differ
    assert sum(map(len, links)) > 3000


def test_the_share_is_that_of_the_links_that_are_found(example):
    pair = example.Pair("The dog sleeps.", "Le chien dort.")
    alignment = Alignment([], [], None, frozenset({(0, 0), (1, 1), (2, 0)}))
    assert example.share_of_content_links([pair, pair], [alignment, alignment]) == (2, 4)
