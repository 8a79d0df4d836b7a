# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The training of a tokenizer from text.

All kinds of tokenizers share one reversible pipeline, and differ in the model that splits a word into pieces:

1. the text is split into words, each with the space before it, by the pattern `WORD`, or `CHUNK` for `unigram`;
2. each word is written as its UTF-8 bytes, so 256 symbols spell any text;
3. the decoder joins the bytes.

No character is changed or dropped, so decoding gives back exactly the text that was encoded, unless a word is encoded
as `<unk>`. This happens for the kind `word` only, with a word that is not in the vocabulary.

The purpose of a tokenizer (`PURPOSES`) decides which special tokens are put around a text. It also decides whether
encoding puts a space before each text and decoding removes this space. With the space, a word has the same pieces at
the start of a text as inside a text. For language models, no space is added, because a text may continue other tokens
or begin with `<mask>`.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from os.path import isfile
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils import logging

from .tokenization_locant import LocantTokenizer

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.get_logger(__name__)

SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
"""The special tokens; their order gives their ids, 0 to 3."""

KINDS = ("bpe", "unigram", "wordpiece", "word")


@dataclass(frozen=True)
class Purpose:
    """The settings of tokenizers for one kind of model.

    Args:
        single: the template of one text for `TemplateProcessing`.
        pair: the template of two texts that are encoded together.
        whole_texts: whether encoding puts a space before a text, and decoding removes this space.
        has_mask: whether there is a `<mask>`. If so, text that spells `<mask>` or another special token is encoded as
            that token, unless `split_special_tokens=True` is given in the call. Without `<mask>`, such text is encoded
            as ordinary text.
        padding_side: the side on which shorter texts of a batch are padded.
    """

    single: str
    pair: str
    whole_texts: bool = False
    has_mask: bool = False
    padding_side: str = "right"

    @property
    def special_tokens(self) -> dict[str, str | AddedToken]:
        """The special tokens by their role, in the order of their ids; `<mask>` includes a space before it."""
        mask = {"mask_token": AddedToken("<mask>", lstrip=True, special=True)} if self.has_mask else {}
        return {**SPECIAL_TOKENS, **mask}


PURPOSES = {
    "seq2seq": Purpose("$A </s>", "$A </s> $B </s>", whole_texts=True),
    "causal_lm": Purpose("<s> $A", "<s> $A $B", padding_side="left"),
    "masked_lm": Purpose("<s> $A </s>", "<s> $A </s> $B </s>", has_mask=True),
}

LONGEST_WORD = 64
"""The maximum number of characters of a word, not counting a space before it or an apostrophe at its end.

A longer word is split into words of at most this length.

Without this limit, a line of many thousand characters without a space would stall a run: the time of the trainers of
`bpe` and `unigram` grows with the square of a word's length, and the time of encoding with `wordpiece` with its cube.
The limit of the `tokenizers` library, `max_input_chars_per_word`, would turn such a word into `<unk>`.
"""

_ENGLISH_ENDING = r"['’](?i:s|t|re|ve|m|ll|d)(?![\p{L}\p{M}])"
_MANY = f"{{1,{LONGEST_WORD}}}"  # the quantifier in the patterns below, in place of `+`
WORD = "|".join(
    (
        # don't is split as don|'t, and dog's as dog|'s.
        _ENGLISH_ENDING,
        # A word includes its combining marks, and a word with elision includes its apostrophe: l'|homme.
        rf" ?[\p{{L}}\p{{M}}]{_MANY}(?:(?!{_ENGLISH_ENDING})['’](?=\p{{L}}))?",
        rf" ?\p{{N}}{_MANY}",
        rf"[ \u00A0\u202F]?[^\s\p{{L}}\p{{M}}\p{{N}}]{_MANY}",  # in French, a no-break space stands before ; : ! ? »
        rf"\s{_MANY}(?!\S)",  # the last of several spaces belongs to the word after the spaces
        rf"\s{_MANY}",
    )
)
"""The pattern of a word: GPT-2's pattern, adapted to languages with elision, combining marks and `« »`.

A word never contains both letters and brackets, so no piece can be `</s>`: text that spells a special token is encoded
as its letters and signs, if special tokens are split (`split_special_tokens`).
"""

CHUNK = rf" ?\S{_MANY}|\s{_MANY}(?!\S)|\s{_MANY}"
"""The pattern of a word for `unigram`: all characters between spaces.

The trainer of `unigram` starts from strings that occur in several different words. If punctuation were split off, a
word like `because` would occur in no other word, and could not become a piece, however frequent it is.
"""


def train_tokenizer(
    texts: "str | PathLike[str] | Iterable[str | PathLike[str]] | Dataset",
    *,
    kind: str = "bpe",
    vocab_size: int = 8000,
    min_frequency: int = 2,
    purpose: str = "seq2seq",
    text_columns: list[str] | str | None = None,
    show_progress: bool = True,
) -> LocantTokenizer:
    """Train a tokenizer. A saved tokenizer loads with `AutoTokenizer` even where Locant is not installed.

    Source and target of a translator share the vocabulary: give the texts of both languages. `<pad>`, `<s>`, `</s>` and
    `<unk>` have the ids 0 to 3. Text that spells a special token is encoded as ordinary text; for `masked_lm`, only
    if `split_special_tokens=True` is given in the call. The same texts in the same order give the same tokenizer.
    There is one exception: the trainer of `unigram` sums probabilities in no fixed order, so its tokenizers may differ
    if a choice depends on the last digits of the sums.

    Args:
        texts: a path or a list of paths of UTF-8 text files, one text a line; or a `datasets.Dataset`; or any
            other iterable of strings (strings in a list are paths: to train on the strings, pass `iter(list)`).
        kind: how a word is cut into pieces. `bpe`: by merging frequent pairs (Sennrich et al. 2016,
            arXiv:1508.07909), here of bytes. `unigram`: into the likeliest pieces of a unigram model (Kudo
            2018, arXiv:1804.10959). `wordpiece`: into the longest known pieces, from the left (Wu et al.
            2016, arXiv:1609.08144), without `##`, since the space already marks where a word begins. These
            three are lossless. `word`: words are not cut, and a word outside the vocabulary becomes `<unk>`.
        vocab_size: the number of tokens, including special tokens; fewer if the texts do not contain so many pieces.
        min_frequency: the least number of times that a pair or a word must occur to enter the vocabulary; `unigram`
            ignores it.
        purpose: the kind of model that the tokenizer is for. `seq2seq`: whole texts, ended by `</s>`, for
            translators and classifiers. `causal_lm`: a text begins with `<s>` and has no end token, so it can be
            continued, and batches are padded on the left. `masked_lm`: a text stands between `<s>` and `</s>`, and
            `<mask>` in it, with the id 4, is a word to be guessed.
        text_columns: the column or columns of the dataset that hold text; all string columns of the dataset if None.
        show_progress: whether to draw progress bars on standard error.

    Raises:
        ValueError: for an unknown kind or purpose, a vocabulary too small for the bytes and special tokens, a path that
            is no file, a file that is not UTF-8, `text_columns` that are not string columns of a dataset, an item of
            `texts` that is not a string, and texts without any text.
    """
    _check_choice("Tokenizer kind", kind, KINDS)
    _check_choice("Purpose", purpose, PURPOSES)
    shape = PURPOSES[purpose]
    special_tokens: dict[str, Any] = {**shape.special_tokens}
    model, trainer = _model_and_trainer(kind, vocab_size, min_frequency, list(special_tokens.values()), show_progress)
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CHUNK if kind == "unigram" else WORD), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    if shape.whole_texts:
        backend.normalizer = normalizers.Prepend(" ")
        backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", left=1, right=0)])
    backend.train_from_iterator(_checked(_read(texts, text_columns)), trainer)
    if kind == "unigram":
        _settle_scores(backend, len(special_tokens))

    template = processors.TemplateProcessing(
        single=shape.single,
        pair=shape.pair,
        special_tokens=[(token, backend.token_to_id(token)) for token in SPECIAL_TOKENS.values()],
    )
    # ByteLevel leaves the space before a word out of the word's offsets, and changes no token.
    offsets = processors.ByteLevel(trim_offsets=True, add_prefix_space=shape.whole_texts, use_regex=False)
    backend.post_processor = processors.Sequence([offsets, template])
    if backend.get_vocab_size() < vocab_size:
        logger.warning(
            f"The texts have too few different words for a vocabulary of {vocab_size:,} tokens: the tokenizer has "
            f"{backend.get_vocab_size():,} tokens, which needs no change of an option."
        )
    return LocantTokenizer(
        tokenizer_object=backend,
        split_special_tokens=not shape.has_mask,
        clean_up_tokenization_spaces=False,
        padding_side=shape.padding_side,
        model_input_names=["input_ids", "attention_mask"],
        **special_tokens,
    )


def _check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    choices = list(choices)
    if value not in choices:
        nearest = difflib.get_close_matches(value.lower(), choices, n=1)
        hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        raise ValueError(f"{what} {value!r} is unknown{hint}: choose one of {', '.join(choices)}.")


def _model_and_trainer(
    kind: str, vocab_size: int, min_frequency: int, special_tokens: list[str | AddedToken], show_progress: bool
) -> tuple[models.Model, trainers.Trainer]:
    alphabet = [] if kind == "word" else sorted(pre_tokenizers.ByteLevel.alphabet())
    # The vocabulary of a unigram or word tokenizer has at least one piece besides the special tokens and the bytes.
    smallest = len(special_tokens) + len(alphabet) + (kind in ("unigram", "word"))
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size is {vocab_size}, but a tokenizer of kind {kind!r} needs at least {smallest}: "
            f"the special tokens and {'a word' if kind == 'word' else 'every byte'} have to fit."
        )

    unk_token = SPECIAL_TOKENS["unk_token"]
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "special_tokens": special_tokens,
        "show_progress": show_progress,
    }
    if kind == "bpe":
        return models.BPE(), trainers.BpeTrainer(min_frequency=min_frequency, initial_alphabet=alphabet, **common)
    if kind == "unigram":
        # The trainer counts bytes: 48 bytes are 16 characters of a script with three bytes for each character.
        return models.Unigram(), trainers.UnigramTrainer(
            unk_token=unk_token, max_piece_length=48, initial_alphabet=alphabet, **common
        )
    if kind == "wordpiece":
        # By default a word over 100 bytes, like a clause in a script without spaces, would become <unk>.
        return models.WordPiece(
            unk_token=unk_token, max_input_chars_per_word=2**31, continuing_subword_prefix=""
        ), trainers.WordPieceTrainer(
            min_frequency=min_frequency,
            initial_alphabet=alphabet,
            continuing_subword_prefix="",
            **common,
        )
    return models.WordLevel(unk_token=unk_token), trainers.WordLevelTrainer(min_frequency=min_frequency, **common)


def _read(
    texts: "str | PathLike[str] | Iterable[str | PathLike[str]] | Dataset", columns: list[str] | str | None
) -> Iterable[object]:
    from datasets import Dataset  # slow to import, and only this function needs it

    if isinstance(texts, Dataset):
        return _read_columns(texts, columns)
    if isinstance(texts, Mapping):  # a DatasetDict yields the names of its splits, which are strings too
        raise ValueError(
            f"texts is a {type(texts).__name__} with the keys {', '.join(map(str, texts))}: give one of its values, "
            f"such as texts[{next(iter(texts), 'train')!r}]."
        )
    if columns is not None:
        raise ValueError(
            f"text_columns is for a datasets.Dataset, but texts is a {type(texts).__name__}: leave text_columns out."
        )
    if isinstance(texts, str | PathLike):
        return _read_lines([texts])
    if isinstance(texts, list | tuple):
        return _read_lines(texts)
    return texts


def _read_lines(paths: Iterable[object]) -> Iterator[str]:
    for path in paths:
        if not isinstance(path, str | PathLike) or not isfile(path):
            raise ValueError(
                f"There is no text file {str(path)[:200]!r}: give paths of text files, "
                "or iter(list) to train on the strings of a list."
            )
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    # a byte order mark at the start of a file is no part of its text
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"Line {number} of {path} is not UTF-8 ({error.reason}, byte {error.start + 1}): "
                        "convert the file to UTF-8."
                    ) from error


def _read_columns(dataset: "Dataset", columns: list[str] | str | None) -> Iterator[str]:
    strings = [
        name
        for name, feature in dataset.features.items()
        if getattr(feature, "dtype", None) in ("string", "large_string")
    ]
    columns = strings if columns is None else [columns] if isinstance(columns, str) else columns
    if not columns or not set(columns) <= set(strings):
        raise ValueError(
            f"text_columns is {columns}, but the string columns of the dataset are {strings}: name some of them."
        )
    for batch in dataset.select_columns(columns).with_format(None).iter(batch_size=1000):
        yield from (text for column in columns for text in batch[column] if text is not None)


def _checked(texts: Iterable[object]) -> Iterator[str]:
    """Return the strings of `texts`, without the blank strings at the start.

    Raises:
        ValueError: an item of `texts` is not a string, or all strings are blank.
    """

    def strings() -> Iterator[str]:
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(
                    f"A tokenizer is trained on strings, but texts yields a {type(text).__name__}: "
                    "give strings, or a list of paths, or a datasets.Dataset."
                )
            yield text

    remaining = strings()
    first = next((text for text in remaining if text.strip()), None)
    if first is None:
        raise ValueError("There is no text to train a tokenizer on: texts is empty or holds only blank strings.")
    return chain([first], remaining)


def _settle_scores(backend: Tokenizer, special_tokens: int) -> None:
    """Make the scores of a unigram model reproducible, and keep text such as `</s>` from becoming a special token.

    - The trainer sums probabilities in hash order, so the last digits of the scores vary: the function rounds scores.
    - Some bytes are in the vocabulary only so that any text can be encoded. The trainer gives these bytes scores that
      rise from the lowest score in steps of 0.0001, also in hash order: the function gives all of them the lowest
      score.
    - The trainer gives a special token the probability 1, so the same characters in a text would be encoded as this
      token: the function sets the score of the special token below the score of any segmentation of these characters
      into ordinary pieces.
    """
    model = json.loads(backend.to_str())["model"]
    special, pieces = model["vocab"][:special_tokens], model["vocab"][special_tokens:]
    lowest = min(score for _, score in pieces)
    special = [(token, round(lowest * (len(token) + 1), 6)) for token, _ in special]
    pieces = [
        (piece, round(lowest if len(piece) == 1 and score < lowest + 256 * 0.0001 else score, 6))
        for piece, score in pieces
    ]
    pieces.sort(key=lambda entry: (-entry[1], entry[0]))
    backend.model = models.Unigram(special + pieces, model["unk_id"])
