# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Tokenising the texts of a dataset, and the checks that need the numbers of tokens."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from locant.tokenization import BPEDropout, train_tokenizer
from locant.utils.errors import first_line

from ..errors import InputError
from ..options.arguments import TokenizerArguments
from .tables import LINE


@dataclass(frozen=True)
class Side:
    """A column of text, and the column of token ids that is made from it.

    Args:
        text: the name of the column of text; messages contain this name.
        ids: the name of the column of token ids.
        limit: the name of the option that limits the number of tokens in training, for messages.
    """

    text: str
    ids: str
    limit: str


SOURCE = Side("source", "input_ids", "max_source_length")
TARGET = Side("target", "labels", "max_target_length")


def build_tokenizer(
    data: TokenizerArguments, texts: Iterable[str], name: str | None, show_progress: bool, purpose: str = "seq2seq"
) -> PreTrainedTokenizerBase:
    """Load the tokenizer `name`; if `name` is None, train a tokenizer on `texts` with the options in `data`.

    `purpose` is the argument `purpose` of `train_tokenizer`.

    Raises:
        InputError: no tokenizer loads from `name`, or no tokenizer can be trained with these options.
    """
    if name is not None:
        try:
            return AutoTokenizer.from_pretrained(name)
        except ImportError as error:
            raise InputError(f"No tokenizer loads from {name}: {first_line(error)}.") from error
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"No tokenizer loads from {name}: give the folder or Hub name of a tokenizer.") from error
    try:
        return train_tokenizer(
            iter(texts),
            kind=data.tokenizer_kind,
            vocab_size=data.tokenizer_vocab_size,
            purpose=purpose,
            show_progress=show_progress,
        )
    except ValueError as error:
        raise InputError(
            f"No tokenizer can be trained with this tokenizer_kind and tokenizer_vocab_size: {error}"
        ) from error


def tokenize_pairs(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, *, source_prefix: str = "", **options: Any
) -> Dataset:
    """Add the token ids of the column `source` as `input_ids`, and of the column `target` as `labels`.

    `source_prefix` is put before each source. The token ids include the special tokens that the tokenizer adds, such as
    the end token, and are not truncated. The result is cached under a hash of the rows, the tokenizer and the prefix.
    `options` are further arguments of `Dataset.map`, such as `num_proc`: the tokenizer uses all cores by itself, and
    processes take seconds to start, so several processes save time only for millions of rows.
    """

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        return encode_pairs(batch, tokenizer, source_prefix)

    return dataset.map(encode, batched=True, **options)


def encode_pairs(
    batch: Mapping[str, list[str]], tokenizer: PreTrainedTokenizerBase, source_prefix: str
) -> dict[str, Any]:
    """Compute the columns `input_ids` and `labels` of `tokenize_pairs` for a batch of pairs."""
    sources = tokenizer([source_prefix + source for source in batch["source"]], verbose=False)
    targets = tokenizer(text_target=batch["target"], verbose=False)
    return {"input_ids": sources["input_ids"], "labels": targets["input_ids"]}


def token_lengths(dataset: Dataset, columns: Sequence[str]) -> np.ndarray:
    """Return an array (rows, columns) of the number of tokens of each row in each column, with special tokens."""
    table = dataset.select_columns(list(columns)).with_format("arrow")[:]
    return np.stack([pc.list_value_length(table[name]).to_numpy() for name in columns], axis=1)


def pair_lengths(dataset: Dataset) -> np.ndarray:
    """Return an array (pairs, 2) of the numbers of tokens of each source and target, with special tokens."""
    return token_lengths(dataset, [SOURCE.ids, TARGET.ids])


def select_usable(dataset: Dataset, limits: dict[Side, int | None]) -> tuple[Dataset, dict[str, int]]:
    """Drop the rows in which a text is blank or has more tokens than the limit of its side.

    Args:
        dataset: the rows, with the texts and the token ids of each side.
        limits: the limit of each side in tokens, including special tokens and a prefix; None for no limit.

    Returns:
        The other rows, and the numbers of dropped rows: `empty` is the number of rows with a blank text, and `long` the
        number of other rows with a text of more tokens than the limit.
    """
    text = dataset.select_columns([side.text for side in limits]).with_format("arrow")[:]
    blank = [pc.equal(pc.utf8_trim_whitespace(text[side.text]), "").to_numpy() for side in limits]
    empty = np.any(blank, axis=0)
    bounds = [np.inf if limit is None else limit for limit in limits.values()]
    long = (token_lengths(dataset, [side.ids for side in limits]) > bounds).any(axis=1) & ~empty
    dropped = {"empty": int(empty.sum()), "long": int(long.sum())}
    return dataset.select(np.flatnonzero(~(empty | long))), dropped


def drop_unusable(dataset: Dataset, limits: dict[Side, int | None], row: str = "row") -> tuple[Dataset, dict[str, int]]:
    """Drop rows as `select_usable` does, and raise an error if no row is left.

    Call this function for training rows only: the metrics on validation and test rows must not depend on the limits.

    Args:
        dataset, limits: the arguments of `select_usable`.
        row: the word for a row in the error message.

    Raises:
        InputError: if no row is left.
    """
    kept, dropped = select_usable(dataset, limits)
    if not len(kept):
        long = " or ".join(f"{side.limit} {limit}" for side, limit in limits.items() if limit is not None)
        reason = f"{dropped['empty']:,} have an empty text"
        if long:
            reason += f", and {dropped['long']:,} have a text longer than {long}"
        raise InputError(
            f"No training {row} is left, as {reason}: check the data{', or raise the limit' * bool(long)}."
        )
    return kept, dropped


def check_lengths(dataset: Dataset, limit: int | None, which: str, side: Side = SOURCE) -> None:
    """Check that no text has more tokens than a table of learned positions allows.

    Args:
        dataset: the rows, with the token ids of the side; if they have a column ``line``, messages number the rows by
            this column.
        limit: the number of positions in the table; None if there is no table.
        which: the name of the split, for the message.
        side: the side of a row whose text is checked.

    Raises:
        InputError: a text is too long; the message names the first text that is too long.
    """
    if limit is None:
        return
    lengths = token_lengths(dataset, [side.ids])[:, 0]
    too_long = np.flatnonzero(lengths > limit)
    if too_long.size:
        row = int(too_long[0])
        number = dataset[row][LINE] if LINE in dataset.column_names else row + 1
        others = f" ({too_long.size:,} texts are too long)" if too_long.size > 1 else ""
        raise InputError(
            f"{which} {side.text}, row {number}, has {lengths[row]} tokens, but the learned positions end at "
            f"{limit}{others}: raise max_position_embeddings, choose a position encoding without a table "
            "(sinusoidal, rotary), or shorten the text."
        )


class Growth(NamedTuple):
    """The distribution of the number of tokens that BPE dropout adds to a text of n tokens.

    The mean of this number is `mean` · n, and the standard deviation is `deviation` · √n.
    """

    mean: float
    deviation: float


@dataclass
class Resegmentation:
    """Segments the texts of a row at random (BPE dropout); an object of this class is the `vary` of `TrainingRows`.

    If a random segmentation has more tokens than the method `longest` allows, the deterministic segmentation is used.

    Args:
        bpe_dropout: segments a text at random, and appends the end token.
        limits: for each side, the largest number of tokens of a random segmentation; None for no limit.
        source_prefix: the text before each source.
        growth: the `Growth` of each side, set by `measure_growth`; until then, `longest` uses `limits` only.
    """

    bpe_dropout: BPEDropout
    limits: dict[Side, int | None]
    source_prefix: str = ""
    growth: dict[Side, Growth] = field(default_factory=dict)

    def __call__(self, row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        """Segment the texts of a row at random, and return the token ids; `rng` is the only source of randomness."""
        found = {}
        for side in self.limits:
            ids = self._draw(row, side, rng)
            found[side.ids] = ids if len(ids) <= self.longest(side, len(row[side.ids])) else row[side.ids]
        return found

    def measure_growth(self, pairs: Dataset, seed: int, sample: int = 1000) -> None:
        """Estimate `growth` from one random segmentation of each of `sample` rows of `pairs`.

        `seed` decides the rows and the segmentations. If `pairs` has fewer rows than `sample`, all rows are used.
        """
        rng = random.Random(seed)
        rows = pairs.select(sorted(rng.sample(range(len(pairs)), min(sample, len(pairs)))))
        for side in self.limits:
            lengths = token_lengths(rows, [side.ids])[:, 0]
            longer = np.array([len(self._draw(row, side, rng)) for row in rows]) - lengths
            mean = longer.sum() / lengths.sum()
            self.growth[side] = Growth(mean, np.sqrt(np.mean((longer - mean * lengths) ** 2 / lengths)))

    def longest(self, side: Side, lengths: Any) -> Any:
        """Return the largest number of tokens that a random segmentation may have.

        If `growth` is measured, this number is two standard deviations above the mean number of tokens, but at most the
        limit of the side; about 2 % of the segmentations have more tokens. A lower number would reject more
        segmentations, and a higher number would leave more of the budget `max_tokens_per_batch` unused. If `growth` is
        not measured, the number is the limit of the side, or infinity without a limit.

        Args:
            side: source or target.
            lengths: the number of tokens without dropout, or an array of such numbers.
        """
        bounds = np.full(np.shape(lengths), np.inf)
        if side in self.growth:
            mean, deviation = self.growth[side]
            bounds = np.maximum(np.ceil((1 + mean) * lengths + 2 * deviation * np.sqrt(lengths)), lengths)
        limit = self.limits[side]
        return bounds if limit is None else np.minimum(bounds, limit)

    def _draw(self, row: dict[str, Any], side: Side, rng: random.Random) -> list[int]:
        prefix = self.source_prefix if side == SOURCE else ""
        return self.bpe_dropout.encode(prefix + row[side.text], rng)
