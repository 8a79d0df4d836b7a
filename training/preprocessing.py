# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""From pairs of sentences to pairs of token ids, and the checks that need their lengths."""

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from .errors import InputError
from .text_data import LINE


def tokenize_pairs(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    source_prefix: str = "",
    num_proc: int | None = None,
    keep_text: bool = False,
    desc: str | None = "Tokenising",
) -> Dataset:
    """Turn ``source`` (with `source_prefix` before it) into ``input_ids``, and ``target`` into ``labels``.

    Both end with the tokenizer's end token, and nothing is truncated. The result is cached, under the hash of
    the pairs and the tokenizer.

    Args:
        dataset: with the string columns ``source`` and ``target``.
        num_proc: processes to work in. None is one: the tokenizer uses all cores by itself, and processes
            take seconds to start, so that they pay from some million pairs on.
        keep_text: whether to keep ``source`` and ``target`` beside ``input_ids`` and ``labels``.
        desc: what stands before the progress bar.
    """

    def tokenize(batch: dict[str, list[str]]) -> dict[str, Any]:
        sources = tokenizer([source_prefix + source for source in batch["source"]], verbose=False)
        targets = tokenizer(text_target=batch["target"], verbose=False)
        return {"input_ids": sources["input_ids"], "labels": targets["input_ids"]}

    return dataset.map(
        tokenize,
        batched=True,
        num_proc=num_proc,
        remove_columns=None if keep_text else dataset.column_names,
        desc=desc,
    )


def pair_lengths(dataset: Dataset) -> np.ndarray:
    """Count the tokens of each pair: integers of shape (pairs, 2), source and target, end tokens included."""
    table = dataset.select_columns(["input_ids", "labels"]).with_format("arrow")[:]
    return np.stack([pc.list_value_length(table[name]).to_numpy() for name in ("input_ids", "labels")], axis=1)


class Dropped(NamedTuple):
    """How many training pairs were left out: those with an `empty` side, and the others with a `long` one."""

    empty: int
    long: int


def drop_unusable_pairs(
    dataset: Dataset, max_source_length: int | None, max_target_length: int | None
) -> tuple[Dataset, Dropped]:
    """Drop the pairs with a side of white space only, or of more tokens than its limit.

    For training only: what is measured on validation and test pairs must not depend on the limits.

    Args:
        dataset: of :func:`tokenize_pairs`, with the text kept.
        max_source_length: in tokens, end token and source prefix included; None for no limit.
        max_target_length: likewise.

    Raises:
        InputError: if no pair is left.
    """
    text = dataset.select_columns(["source", "target"]).with_format("arrow")[:]
    blank = [pc.equal(pc.utf8_trim_whitespace(text[side]), "").to_numpy() for side in ("source", "target")]
    empty = blank[0] | blank[1]
    limits = [np.inf if limit is None else limit for limit in (max_source_length, max_target_length)]
    long = (pair_lengths(dataset) > limits).any(axis=1) & ~empty
    dropped = Dropped(empty=int(empty.sum()), long=int(long.sum()))
    if sum(dropped) == len(dataset):
        raise InputError(
            f"No training pair is left: {dropped.empty:,} have an empty side, and {dropped.long:,} are "
            f"longer than max_source_length {max_source_length} or max_target_length {max_target_length}."
        )
    return dataset.select(np.flatnonzero(~(empty | long))), dropped


def check_lengths(dataset: Dataset, limit: int, which: str, side: Literal["source", "target"] = "source") -> None:
    """Check that no sentence is longer than a table of learned positions allows.

    Args:
        dataset: of :func:`tokenize_pairs`; the numbers of its lines are in the column ``line``, if it has one.
        limit: tokens that the table has positions for.
        which: the split's name, for the message.
        side: which of the two sentences.

    Raises:
        InputError: naming the first sentence that is too long.
    """
    lengths = pair_lengths(dataset)[:, 0 if side == "source" else 1]
    too_long = np.flatnonzero(lengths > limit)
    if too_long.size:
        row = int(too_long[0])
        line = dataset[row][LINE] if LINE in dataset.column_names else row + 1
        others = f" ({too_long.size:,} lines are too long)" if too_long.size > 1 else ""
        raise InputError(
            f"{which} {side}, line {line}: {lengths[row]} tokens, where the learned positions end at "
            f"{limit}{others}; raise max_position_embeddings, choose a position encoding without a table "
            "(sinusoidal, rotary), or shorten the line."
        )
