# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The tokens, words and patches of the sequences that a model reads."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

_WORD_STARTS = ("▁", "Ġ")  # how SentencePiece and byte-level BPE write the space before a token


@dataclass(frozen=True)
class Sequence:
    """The tokens of a text, with the word that each token belongs to; or the patches of an image.

    Args:
        tokens: a readable name for each token or patch.
        ids: the ids of the tokens; empty for an image.
        words: the words of the text, separated by whitespace; empty for an image.
        word_of_token: the index of the word of each token; None for special tokens, such as the end-of-sentence token,
            and for patches.
        patches: the numbers of rows and columns of the image patches; the patches are the last of `tokens`, row by row.
            None for a text.
    """

    tokens: list[str]
    ids: list[int]
    words: list[str]
    word_of_token: list[int | None]
    patches: tuple[int, int] | None = None


def read_text(tokenizer: Any, text: str, *, is_target: bool = False) -> Sequence:
    """Tokenize a text. A token belongs to the word in which it begins.

    Args:
        tokenizer: a tokenizer of transformers.
        text: the text.
        is_target: whether the text is the target of an encoder–decoder; some tokenizers convert targets differently.
    """
    argument = {"text_target" if is_target else "text": text}
    if not tokenizer.is_fast:
        return _from_pieces(tokenizer, text, list(tokenizer(**argument)["input_ids"]))
    encoded = tokenizer(**argument, return_offsets_mapping=True)
    ids, tokens, word_of_token = list(encoded["input_ids"]), [], []
    for id_, (start, end) in zip(ids, encoded["offset_mapping"], strict=True):
        covered = text[start:end].strip()
        # `first` is the index of the token's first character other than whitespace: the last word in the text up to
        # this character is the word of the token, or the beginning of this word
        first = end - len(text[start:end].lstrip())
        word_of_token.append(len(text[: first + 1].split()) - 1 if covered else None)
        tokens.append(covered or tokenizer.convert_ids_to_tokens(id_))
    return Sequence(tokens, ids, text.split(), word_of_token)


def _from_pieces(tokenizer: Any, text: str, ids: list[int]) -> Sequence:
    """Make the sequence of a text from ids: the first piece, and each piece that begins with ▁ or Ġ, begins a word."""
    pieces = tokenizer.convert_ids_to_tokens(ids)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    first = next((index for index, id_ in enumerate(ids) if id_ not in special), None)
    begun = list(accumulate(index == first or piece.startswith(_WORD_STARTS) for index, piece in enumerate(pieces)))
    words = text.split()
    word_of_token = [
        None if id_ in special else min(max(number - 1, 0), len(words) - 1)
        for id_, number in zip(ids, begun, strict=True)
    ]
    tokens = [piece.lstrip("".join(_WORD_STARTS)) or piece for piece in pieces]
    return Sequence(tokens, ids, words, word_of_token)


def image_sequence(patches: tuple[int, int], length: int) -> Sequence:
    """Make the sequence of an image: tokens without a patch, such as a class token, then the patches row by row.

    Args:
        patches: the numbers of rows and columns of the patches.
        length: the number of all tokens, including the tokens without a patch.
    """
    rows, columns = patches
    before = length - rows * columns
    names = ["[class]"] if before == 1 else [f"[extra {number}]" for number in range(1, before + 1)]
    names += [f"patch {row}, {column}" for row in range(1, rows + 1) for column in range(1, columns + 1)]
    return Sequence(names, [], [], [None] * length, patches)


def membership(sequence: Sequence) -> np.ndarray:
    """Return a matrix `(words, tokens)` with 1 where a token belongs to a word, and 0 elsewhere."""
    words = np.array([-1 if word is None else word for word in sequence.word_of_token], dtype=int)
    return (words[None] == np.arange(len(sequence.words))[:, None]).astype(np.float32)
