# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The words that the tokens of a text belong to, for tokenizers without offsets."""

import pytest

from locant.visualization.sequences import read_text


class TokenizerWithoutOffsets:
    """A tokenizer that gives `pieces` for every text; the last piece is special."""

    is_fast = False

    def __init__(self, pieces):
        self.pieces = pieces
        self.all_special_ids = [len(pieces) - 1]
        self.unk_token_id = None

    def __call__(self, text):
        return {"input_ids": list(range(len(self.pieces)))}

    def convert_ids_to_tokens(self, ids):
        return [self.pieces[number] for number in ids]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["▁old", "▁ca", "t", "▁sees", "</s>"], [0, 1, 1, 2, None]),
        (["old", "Ġca", "t", "Ġsees", "</s>"], [0, 1, 1, 2, None]),  # byte-level BPE without a leading space
    ],
)
def test_the_first_piece_begins_a_word_with_and_without_a_mark(pieces, words):
    found = read_text(TokenizerWithoutOffsets(pieces), "old cat sees")
    assert found.words == ["old", "cat", "sees"]
    assert found.tokens == ["old", "ca", "t", "sees", "</s>"]
    assert found.word_of_token == words
