# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BPE dropout, against the tokenizer without it and with it against the exact distribution of the paper."""

import json
import pickle
import random
from collections import Counter
from itertools import combinations

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from locant.tokenization import BPEDropout, train_tokenizer

TEXTS = [
    f"{a} {b} {c}."
    for a in ("the banana", "l'ananas", "an incredible", "incroyable")
    for b in ("sees", "mississippi", "aaaa", "naan")
    for c in ("the cat", "le chat", "don't", "bananas")
]
SPECIAL = ("</s>", "<pad>", "<s>a</s>", " ", "", "  \n\t", "🙂é e\u0301", "\x00\u2028\U0010ffff", "漢" * 150)


def random_texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    words = [*" ".join(TEXTS).split(" "), *SPECIAL, "aaaaaaaaaaaaa", "nanananas"]
    return [
        rng.choice(("", " ")).join(
            rng.choice(words) if rng.random() < 0.8 else chr(rng.choice((rng.randrange(0xD800), 0x1F600)))
            for _ in range(rng.randrange(20))
        )
        for _ in range(count)
    ]


def trained(kind: str = "bpe") -> PreTrainedTokenizerFast:
    return train_tokenizer(iter(TEXTS), kind=kind, vocab_size=340, show_progress=False)


@pytest.fixture(scope="module")
def tokenizer():
    return trained()


def test_without_dropout_every_text_is_encoded_as_the_tokenizer_does(tokenizer):
    encoder = BPEDropout(tokenizer, 0.0)
    for text in [*TEXTS, *SPECIAL, *random_texts(1000, seed=0)]:
        assert encoder.encode(text, random.Random(0)) == tokenizer(text).input_ids, text


def test_full_dropout_gives_single_bytes(tokenizer):
    encoder = BPEDropout(tokenizer, 1.0)
    for text in [*TEXTS[:5], *SPECIAL, *random_texts(50, seed=1)]:
        size = len(f" {text}".encode()) if text else 0
        ids = encoder.encode(text, random.Random(0))
        assert len(ids) == size + 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_with_dropout_the_text_survives_and_eos_ends_it(tokenizer, dropout):
    encoder, rng = BPEDropout(tokenizer, dropout), random.Random(0)
    for text in [*TEXTS, *SPECIAL, *random_texts(200, seed=2)]:
        ids = encoder.encode(text, rng)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert ids[-1] == 2
        assert min(ids[:-1], default=4) >= 4


def distribution(tokenizer, word: str, dropout: float) -> dict[tuple[str, ...], float]:
    """Probability of each segmentation, by following algorithm 1 through every subset of dropped merges."""
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}

    def follow(pieces: tuple[str, ...]) -> Counter:
        possible = [i for i in range(len(pieces) - 1) if pieces[i : i + 2] in ranks]
        outcome = Counter({pieces: dropout ** len(possible)})
        for size in range(1, len(possible) + 1):
            for left in combinations(possible, size):
                chance = dropout ** (len(possible) - size) * (1 - dropout) ** size
                i = min(left, key=lambda i: (ranks[pieces[i : i + 2]], i))
                merged = (*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :])
                for pieces_after, p in follow(merged).items():
                    outcome[pieces_after] += chance * p
        return outcome

    return follow(tuple(word))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("word", ["banana", "aaaa", "sees", "cat"])
@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_segmentations_have_the_frequencies_of_the_papers_algorithm(tokenizer, word, dropout):
    expected = distribution(tokenizer, "Ġ" + word, dropout)
    assert sum(expected.values()) == pytest.approx(1)
    encoder, rng, draws = BPEDropout(tokenizer, dropout), random.Random(0), 20_000
    counts = Counter(tuple(tokenizer.convert_ids_to_tokens(encoder.encode(word, rng)[:-1])) for _ in range(draws))
    assert set(counts) <= set(expected)
    for pieces, p in expected.items():
        assert counts[pieces] / draws == pytest.approx(p, abs=4.5 * (p * (1 - p) / draws) ** 0.5 + 1e-4), pieces


def test_words_of_one_text_are_dropped_independently(tokenizer):
    # The run of kept merges carries over from word to word: its distribution must not show it.
    expected = distribution(tokenizer, "Ġcat", 0.3)
    whole = max(expected, key=len)  # any fixed segmentation will do
    encoder, rng, draws = BPEDropout(tokenizer, 0.3), random.Random(1), 20_000
    pairs = Counter()
    for _ in range(draws):
        pieces = tokenizer.convert_ids_to_tokens(encoder.encode("cat cat", rng)[:-1])
        second = len(pieces) - 1 - pieces[::-1].index(next(p for p in reversed(pieces) if p.startswith("Ġ")))
        pairs[tuple(pieces[:second]) == whole, tuple(pieces[second:]) == whole] += 1
    p = expected[whole]
    for (first, last), q in {
        (True, True): p * p,
        (True, False): p * (1 - p),
        (False, True): p * (1 - p),
    }.items():
        assert pairs[first, last] / draws == pytest.approx(q, abs=4.5 * (q * (1 - q) / draws) ** 0.5)


def test_the_same_seed_gives_the_same_pieces_whatever_was_encoded_before(tokenizer):
    texts = random_texts(50, seed=3)
    first, second = BPEDropout(tokenizer, 0.2), BPEDropout(tokenizer, 0.2)
    for text in reversed(texts):
        second.encode(text, random.Random(9))
    rngs = random.Random(5), random.Random(5), random.Random(6)
    runs = [
        [encoder.encode(text, rng) for text in texts]
        for encoder, rng in zip((first, pickle.loads(pickle.dumps(second)), first), rngs, strict=True)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert rngs[0].getstate() == rngs[1].getstate()


@pytest.mark.parametrize("dropout", [-0.1, 1.5, float("nan")])
def test_a_dropout_that_is_no_probability_is_refused(tokenizer, dropout):
    with pytest.raises(ValueError, match="a probability from 0 to 1"):
        BPEDropout(tokenizer, dropout)


@pytest.mark.parametrize(("kind", "name"), [("unigram", "Unigram"), ("wordpiece", "WordPiece"), ("word", "WordLevel")])
def test_other_kinds_are_refused(kind, name):
    with pytest.raises(ValueError, match=f"needs a byte-level BPE tokenizer, but this {name} tokenizer is not"):
        BPEDropout(trained(kind), 0.1)


def _add_token(tokenizer):
    tokenizer.add_tokens([AddedToken("banana", normalized=False)])


def _read_special_tokens(tokenizer):
    tokenizer.split_special_tokens = False


def _start_with_bos(tokenizer):
    tokenizer.add_bos_token = True


@pytest.mark.parametrize("change", [_add_token, _read_special_tokens, _start_with_bos])
def test_a_tokenizer_that_does_more_than_bpe_is_refused(change):
    tokenizer = trained()
    BPEDropout(tokenizer, 0.1)
    change(tokenizer)
    with pytest.raises(ValueError, match="encodes a test text differently"):
        BPEDropout(tokenizer, 0.1)
