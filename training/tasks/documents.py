# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The base class of recipes whose rows are documents, and functions that pack pieces of documents into blocks."""

import io
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, List, Value
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..data.batching import TrainingRows
from ..data.document_files import EACH_LINE
from ..data.preprocessing import build_tokenizer, token_lengths
from ..data.streaming import EncodedBlock
from ..data.tables import Column, Layout
from ..errors import InputError
from ..inference import position_limit
from ..options.run_config import RunConfig
from .recipe import PreparedData, Recipe, Stream, tokenizer_fields

IDS = "input_ids"
DOCUMENT = "document"

Cutter = Callable[[list[str]], list[list[list[int]]]]
"""A function from texts to the pieces of each text, where a piece is a list of token ids."""


class DocumentRecipe(Recipe):
    """A recipe whose rows are documents, which come from text files or from a column of a table.

    Documents are cut into pieces, which are lists of token ids. A document of white space only has no pieces. The
    pieces of any other document contain all of its tokens.
    """

    purpose: ClassVar[str]
    """The argument `purpose` of `train_tokenizer` for a new tokenizer."""
    size_option: ClassVar[tuple[str, str]]
    """The option that limits the number of tokens of a piece, and the side that reads pieces: `source` or `target`."""

    def __init__(self, data: Any, seed: int):
        super().__init__(data, seed)
        self._rows: DatasetDict | None = None
        self._unigram_losses: np.ndarray | None = None

    @property
    def layout(self) -> Layout:
        """The column of a row: a text."""
        column = Column("text", chosen=self.data.text_column)
        return Layout((column,), row="document", document_separator=self.data.document_separator)

    def load(self) -> DatasetDict:
        """Load the documents of each split; raise `InputError` if all documents of a split are blank."""
        if self._rows is None:
            self._rows = super().load()
            for split, rows in self._rows.items():
                _check_text(rows, split)
        return self._rows

    def load_split(self, split: str) -> Dataset:
        """Load the documents of one split; raise `InputError` if all of its documents are blank."""
        rows = super().load_split(split)
        _check_text(rows, split)
        return rows

    def warnings(self, rows: DatasetDict) -> list[str]:
        """Return the warnings of the base class, and a warning about blank lines.

        There is a warning about blank lines if each line is a document, and more than 5 % of the training documents are
        blank.
        """
        warnings = super().warnings(rows)
        if self.data.document_separator == EACH_LINE:
            blank = np.mean([not text.strip() for text in rows["train"]["text"]])
            if blank > 0.05:
                warnings.append(
                    f"Warning: each line is a document, and {blank:.0%} of the documents are blank: if blank lines "
                    "separate the documents, set document_separator to blank_line."
                )
        return warnings

    def build_processor(self, run: RunConfig, train: Dataset, name: str | None) -> PreTrainedTokenizerBase:
        """Load the tokenizer `name`; if `name` is None, train a new tokenizer on the documents of `train`."""
        texts = (row["text"] for row in train)
        return build_tokenizer(self.data, texts, name, not run.training.disable_tqdm, self.purpose)

    @abstractmethod
    def cutter(self, tokenizer: PreTrainedTokenizerBase) -> Cutter:
        """Return the function that cuts documents into pieces.

        Raises:
            InputError: the tokenizer lacks a token that the task needs.
        """

    @abstractmethod
    def learned(self, ids: np.ndarray, first: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
        """Return an array of booleans that says for each token whether the task predicts it.

        Args:
            ids: the ids of the tokens of all pieces, one piece after the other.
            first: an array of booleans that says for each token whether it is the first token of its piece.
            tokenizer: the tokenizer, which knows the special tokens.
        """

    def cut(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, desc: str = "Tokenising") -> Dataset:
        """Cut documents into pieces with the function `cut_documents` and the task's `cutter`."""
        return cut_documents(rows, self.cutter(tokenizer), num_proc=self.data.preprocessing_num_workers, desc=desc)

    def stream_pieces(
        self, tokenizer: PreTrainedTokenizerBase, training_rows: Callable[[Dataset], tuple[TrainingRows, np.ndarray]]
    ) -> Stream | None:
        """Return the `Stream` of a streamed run, or None for other runs.

        `training_rows` converts pieces to training rows and their lengths.
        """
        return self.stream(partial(encode_block, cut=self.cutter(tokenizer), training_rows=training_rows))

    def encode(self, rows: DatasetDict, processor: PreTrainedTokenizerBase) -> PreparedData:
        """Cut the documents of every split into pieces, and count documents, pieces, tokens and bytes."""
        encoded = DatasetDict()
        summary: dict[str, Any] = {"vocabulary": len(processor)}
        for split, documents in rows.items():
            encoded[split] = self.cut(documents, processor, f"Tokenising {split}")
            texts = documents["text"][:]
            summary[split] = {
                "documents": len(np.unique(encoded[split][DOCUMENT][:])),
                "empty": sum(not text.strip() for text in texts),
                "pieces": len(encoded[split]),
                "median_characters": int(np.median([len(text) for text in texts if text.strip()])),
                "tokens": len(self.learned_tokens(encoded[split], processor)),
                "bytes": sum(len(text.encode()) for text in texts if text.strip()),
            }
        if "test" in rows:
            known = set(rows["train"]["text"])
            found = sum(text in known for text in rows["test"]["text"] if text.strip())
            summary["test_in_train"] = {"documents": found}
        self._unigram_losses = self._count(encoded["train"], processor)
        return PreparedData(rows, encoded, processor, summary)

    def config_fields(self, prepared: PreparedData) -> dict[str, Any]:
        """Return the config fields that the tokenizer determines: the vocabulary size and the ids of special tokens."""
        return tokenizer_fields(prepared.processor)

    def check(self, model: PreTrainedModel, prepared: PreparedData) -> None:
        """Raise `InputError` if the largest number of tokens of a piece is above the number of learned positions."""
        option, side = self.size_option
        size, limit = getattr(self.data, option), position_limit(model, side)
        if limit is not None and size > limit:
            raise InputError(
                f"{option} is {size}, but the learned positions end at {limit}: lower {option}, raise "
                "max_position_embeddings, or choose a position encoding without a table (sinusoidal, rotary)."
            )

    def learned_tokens(self, pieces: Dataset, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
        """Return the ids of all tokens of `pieces` that the task predicts."""
        ids, first = flatten(pieces)
        return ids[self.learned(ids, first, tokenizer)]

    def unigram_losses(self, tokenizer: PreTrainedTokenizerBase) -> np.ndarray | None:
        """Compute the loss in nats of each token of the vocabulary in a unigram model of the training data.

        The unigram model is the baseline of the tasks with documents. It counts the tokens that the task predicts in
        the training data; with `streaming`, in the first block only. The probability of a token is in proportion to its
        count plus one, so that no probability is 0. Returns None if the training data cannot be read, for example when
        a finished model is evaluated on another machine.
        """
        if self._unigram_losses is None:
            try:
                with redirect_stdout(io.StringIO()):  # a message about the training data would mislead in an evaluation
                    train = self.load()["train"]
            except InputError:
                return None
            self._unigram_losses = self._count(self.cut(train, tokenizer), tokenizer)
        return self._unigram_losses

    def _count(self, pieces: Dataset, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
        counts = np.bincount(self.learned_tokens(pieces, tokenizer), minlength=len(tokenizer)) + 1
        return np.log(counts.sum()) - np.log(counts)


def encode_block(
    documents: Dataset, cut: Cutter, training_rows: Callable[[Dataset], tuple[TrainingRows, np.ndarray]]
) -> EncodedBlock:
    """Cut the documents of a streamed block into pieces, make training rows of them, and count the dropped documents.

    Documents of white space only are dropped.

    Args:
        documents: the documents of the block.
        cut: cuts documents into pieces.
        training_rows: converts pieces to training rows and their lengths `(rows, 1)`.
    """
    pieces = cut_documents(documents, cut)
    dropped = {"empty": len(documents) - len(np.unique(pieces[DOCUMENT][:]))}
    if not len(pieces):
        return EncodedBlock(TrainingRows(pieces), np.zeros((0, 1), dtype=np.int64), dropped)
    return EncodedBlock(*training_rows(pieces), dropped)


def cut_documents(rows: Dataset, cut: Cutter, *, num_proc: int | None = None, desc: str | None = None) -> Dataset:
    """Cut documents into pieces.

    Returns:
        A row for each piece, with the columns ``input_ids`` and ``document``, the index of the document in `rows`.
    """

    def cut_batch(texts: list[str], numbers: list[int]) -> dict[str, list[Any]]:
        filled = [(text, number) for text, number in zip(texts, numbers, strict=True) if text.strip()]
        documents = zip(filled, cut([text for text, _ in filled]) if filled else [], strict=True)
        pieces = [(piece, number) for (_, number), cut_text in documents for piece in cut_text]
        return {IDS: [ids for ids, _ in pieces], DOCUMENT: [number for _, number in pieces]}

    return rows.map(
        cut_batch,
        batched=True,
        with_indices=True,
        input_columns="text",
        remove_columns=rows.column_names,
        features=Features({IDS: List(Value("int32")), DOCUMENT: Value("int32")}),
        num_proc=num_proc,
        desc=desc,
    )


def counted_documents(documents: int) -> str:
    """Return the number of documents as a text for messages, such as `1 document` or `2 documents`."""
    return f"{documents:,} document{'' if documents == 1 else 's'}"


def _check_text(rows: Dataset, split: str) -> None:
    if not any(text.strip() for text in rows["text"]):
        raise InputError(
            f"{split} has {len(rows):,} documents, and none of them holds any text: give documents that hold text."
        )


def flatten(pieces: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays with an entry for each token of all pieces, one piece after the other.

    The first array has the id of each token. The second array is True for the first token of each piece.
    """
    lengths = token_lengths(pieces, [IDS])[:, 0]
    ids = _ids_of(pieces).flatten().to_numpy()
    first = np.zeros(len(ids), dtype=bool)
    first[np.cumsum(lengths) - lengths] = True
    return ids, first


def _ids_of(pieces: Dataset) -> pa.LargeListArray:
    """Return the token ids of all pieces in one array. An array of the type `list` could hold only 2^31 - 1 tokens."""
    return pieces.with_format("arrow")[:][IDS].cast(pa.large_list(pa.int32())).combine_chunks()


def by_document(values: np.ndarray, pieces: Dataset, documents: int) -> np.ndarray:
    """Return an array with the sum of the `values` of the pieces of each document, in float64.

    Args:
        values: a value for each piece.
        pieces: the pieces, with the column `document`.
        documents: the number of documents.
    """
    return np.bincount(np.asarray(pieces[DOCUMENT][:]), weights=values, minlength=documents)


def best_fit(lengths: Sequence[int] | np.ndarray, size: int) -> list[list[int]]:
    """Pack pieces into blocks of at most `size` tokens by best-fit decreasing; no piece is cut.

    From the longest piece to the shortest, each piece goes into the fullest block that still has room for it (Ding et
    al. 2024, arXiv:2404.10830). Nearly all blocks are full as long as there are enough short pieces.

    Args:
        lengths: the number of tokens of each piece, at most `size`.
        size: the largest number of tokens in a block.

    Returns:
        The indices of the pieces in each block.
    """
    blocks: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(size + 1)]  # at index n: the blocks with room for n more tokens
    roomy = np.zeros(size + 1, dtype=bool)  # at index n: whether `with_room[n]` has any blocks
    for piece in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = int(lengths[piece])
        room = length + int(roomy[length:].argmax())
        if roomy[room]:
            block = with_room[room].pop()
            roomy[room] = bool(with_room[room])
        else:
            block, room = len(blocks), size
            blocks.append([])
        blocks[block].append(piece)
        with_room[room - length].append(block)
        roomy[room - length] = True
    return blocks


def pack(pieces: Dataset, size: int) -> Dataset:
    """Pack pieces into blocks with `best_fit`.

    Returns:
        A row for each block, with the column ``pieces``: a list of the pieces in the block, each a list of token ids.
    """
    return _in_blocks(pieces, best_fit(token_lengths(pieces, [IDS])[:, 0], size))


def alone(pieces: Dataset) -> Dataset:
    """Make a block of each piece, in the format of `pack`."""
    return _in_blocks(pieces, np.arange(len(pieces))[:, None])


def _in_blocks(pieces: Dataset, blocks: Sequence[Sequence[int]] | np.ndarray) -> Dataset:
    ids = _ids_of(pieces.select(np.concatenate(blocks)))
    ends = np.cumsum([0, *map(len, blocks)])
    return Dataset(pa.table({"pieces": pa.LargeListArray.from_arrays(ends, ids)}))


def block_lengths(blocks: Dataset) -> np.ndarray:
    """Count the tokens of each block: integers of shape `(blocks, 1)`."""
    table = blocks.with_format("arrow")[:]["pieces"].combine_chunks()
    ends = table.values.offsets.to_numpy()[table.offsets.to_numpy()]
    return np.diff(ends)[:, None]
