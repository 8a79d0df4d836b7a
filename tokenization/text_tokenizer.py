# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training a tokenizer from text.

Every kind shares one reversible pipeline, and differs only in the model that cuts a word into pieces:

1. the text is split into words, each with the space before it, by the pattern `WORD` (or `CHUNK`);
2. each word is written as its UTF-8 bytes, so 256 symbols spell any text;
3. the decoder joins the bytes.

Nothing is normalised and nothing is dropped, so decoding gives back the very text that was encoded, unless
the model has no pieces for a word and writes `<unk>`, as a vocabulary of whole words must.

What a text is for decides what stands around it, see `PURPOSES`. Where only whole texts are encoded, one space is put
before each and taken off again in decoding, so that a word has the same pieces at the start of a text as inside it.
Where a text goes on after the model's tokens, or begins with a mask, that would be a space too many.
"""

import difflib
import json
from collections.abc import Iterable, Iterator
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
    """What the tokenizers of one kind of model have in common.

    Args:
        single: what an encoded text is, as `TemplateProcessing` takes it.
        pair: what two texts encoded together are.
        whole_texts: whether a space is put before a text, and taken off the decoded one.
        has_mask: whether there is a `<mask>`, which is read where a text spells it; all else is ordinary text.
        padding_side: where shorter texts of a batch are filled up.
    """

    single: str
    pair: str
    whole_texts: bool = False
    has_mask: bool = False
    padding_side: str = "right"

    @property
    def special_tokens(self) -> dict[str, str | AddedToken]:
        """The special tokens by their role, in the order of their ids; `<mask>` takes the place of a space too."""
        mask = {"mask_token": AddedToken("<mask>", lstrip=True, special=True)} if self.has_mask else {}
        return {**SPECIAL_TOKENS, **mask}


PURPOSES = {
    "seq2seq": Purpose("$A </s>", "$A </s> $B </s>", whole_texts=True),
    "causal_lm": Purpose("<s> $A", "<s> $A $B", padding_side="left"),
    "masked_lm": Purpose("<s> $A </s>", "<s> $A </s> $B </s>", has_mask=True),
}

LONGEST_WORD = 64
"""The most characters of one word; the rest of a longer one is the next word.

The trainers of `bpe` and `unigram` take time that grows with the square of a word's length, and encoding with
`wordpiece` with its cube: one line of many thousand characters without a space would stall a run. The library's own
limit, `max_input_chars_per_word`, would make such a word `<unk>`.
"""

_ENGLISH_ENDING = r"['’](?i:s|t|re|ve|m|ll|d)(?![\p{L}\p{M}])"
_MANY = f"{{1,{LONGEST_WORD}}}"  # in place of `+`
WORD = "|".join(
    (
        _ENGLISH_ENDING,  # do|n't is cut as don|'t, and dog's as dog|'s
        # A word keeps its accents when they are written as marks, and an elided one its apostrophe: l'|homme.
        rf" ?[\p{{L}}\p{{M}}]{_MANY}(?:(?!{_ENGLISH_ENDING})['’](?=\p{{L}}))?",
        rf" ?\p{{N}}{_MANY}",
        rf"[ \u00A0\u202F]?[^\s\p{{L}}\p{{M}}\p{{N}}]{_MANY}",  # in French, a no-break space stands before ; : ! ? »
        rf"\s{_MANY}(?!\S)",  # of several spaces, the last goes with the word after them
        rf"\s{_MANY}",
    )
)
"""What counts as one word: GPT-2's pattern, made to fit languages with elision, combining marks and `« »`.

Letters and brackets are never in one word, so no piece can be `</s>`: a special token that is spelled out in
a text is encoded as the ordinary signs and letters that it is made of.
"""

CHUNK = rf" ?\S{_MANY}|\s{_MANY}(?!\S)|\s{_MANY}"
"""What `unigram` takes for a word: all that stands between spaces.

Its trainer starts from the strings that occur in several different words. Cut off from its punctuation, a
word like `because` is in no other, and could not become a piece however frequent it is.
"""


def train_tokenizer(
    texts: "str | PathLike[str] | Iterable[str | PathLike[str]] | Dataset",
    *,
    kind: str = "bpe",
    vocab_size: int = 8000,
    min_frequency: int = 2,
    purpose: str = "seq2seq",
    text_columns: list[str] | None = None,
    show_progress: bool = True,
) -> LocantTokenizer:
    """Train a tokenizer; what it saves loads with `AutoTokenizer` where Locant is not installed.

    Source and target share the vocabulary: give the texts of both languages. `<pad>`, `<s>`, `</s>` and
    `<unk>` have the ids 0 to 3, and these spellings are ordinary text where a text holds them (but for `masked_lm`,
    unless `split_special_tokens=True` is given in the call). The same texts in the same order give the same
    tokenizer; for `unigram`, whose trainer adds up probabilities in no fixed order, as long as no choice hangs on
    their last digits.

    Args:
        texts: a path or a list of paths of UTF-8 text files, one text a line; or a `datasets.Dataset`; or any
            other iterable of strings (strings in a list are paths: pass `iter(...)` of it to train on them).
        kind: how a word is cut into pieces. `bpe`: by merging frequent pairs (Sennrich et al. 2016,
            arXiv:1508.07909), here of bytes. `unigram`: into the likeliest pieces of a unigram model (Kudo
            2018, arXiv:1804.10959). `wordpiece`: into the longest known pieces, from the left (Wu et al.
            2016, arXiv:1609.08144), without `##`, since the space already marks where a word begins. These
            three are lossless. `word`: not at all, and a word outside the vocabulary becomes `<unk>`.
        vocab_size: the number of tokens, special ones included; fewer if the texts don't hold so many.
        min_frequency: how often a pair or a word must occur to be taken; `unigram` has no such bound.
        purpose: which models it is for, as their pipelines need it. `seq2seq`: whole texts, ended by `</s>`, for
            translators and classifiers. `causal_lm`: a text begins with `<s>` and has no end, so that it can be
            continued, and batches are padded on the left. `masked_lm`: a text stands between `<s>` and `</s>`, and
            `<mask>` in it, with the id 4, is a word to be guessed.
        text_columns: the columns of the dataset that hold text; all its string columns if None.
        show_progress: whether to draw progress bars on standard error.

    Raises:
        ValueError: for an unknown kind or purpose, a vocabulary too small for the bytes and special tokens, a path that
            is no file, a file that is not UTF-8, columns that the dataset lacks, and texts without any text.
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
        logger.warning(f"The texts gave a vocabulary of {backend.get_vocab_size()} tokens; the limit was {vocab_size}.")
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
    # The trainers of these two cannot leave out a piece of their own.
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
        # The trainer counts bytes: 48 are 16 characters of a script that takes three for each.
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
    texts: "str | PathLike[str] | Iterable[str | PathLike[str]] | Dataset", columns: list[str] | None
) -> Iterable[object]:
    from datasets import Dataset  # slow to import, and only this function needs it

    if isinstance(texts, Dataset):
        return _read_columns(texts, columns)
    if columns is not None:
        raise ValueError(
            f"text_columns names columns of a datasets.Dataset, and texts is a {type(texts).__name__}: leave it out."
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
                f"There is no text file {str(path)[:200]!r}: a list names files to train on, "
                "and iter(list) makes its strings the text."
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


def _read_columns(dataset: "Dataset", columns: list[str] | None) -> Iterator[str]:
    strings = [
        name
        for name, feature in dataset.features.items()
        if getattr(feature, "dtype", None) in ("string", "large_string")
    ]
    columns = strings if columns is None else columns
    if not columns or not set(columns) <= set(strings):
        raise ValueError(
            f"text_columns is {columns}, but the string columns of the dataset are {strings}: name some of them."
        )
    for batch in dataset.select_columns(columns).with_format(None).iter(batch_size=1000):
        yield from (text for column in columns for text in batch[column] if text is not None)


def _checked(texts: Iterable[object]) -> Iterator[str]:
    """The same strings; an error if one is not a string, or none holds any text."""

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
    """Make two trainings of a unigram model equal, and its special tokens unlikelier than their spellings.

    The trainer sums in hash order, so scores differ in their last digits: they are rounded. To the bytes that
    it keeps only to spell unseen text it gives scores that rise from the lowest by steps of 0.0001, in hash
    order too: they get the lowest. And it gives special tokens the probability 1, wherever one is spelled out.
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
