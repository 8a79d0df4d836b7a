# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training data that are read while the model trains, in blocks of `BLOCK_ROWS` rows, in a seeded order of blocks.

`LengthBatchSampler` needs the lengths of all rows. The classes of this module read a block, tokenise it and divide it
into batches only when training reaches the block, so that neither the memory nor the cache of `datasets` holds all
rows. The order of the blocks is a function of the seed, so a checkpoint stores only a `Place` in this order.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from pyarrow.parquet import ParquetFile
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..errors import InputError
from ..run.progress import hidden_bars
from .batching import TrainingRows
from .document_files import BLANK_LINE, EACH_LINE, FILE, split_documents
from .tables import (
    GZIP,
    Layout,
    check_parquet,
    decode_lines,
    existing_file,
    format_of,
    is_table,
    parallel_rows,
    read_record,
    select_columns,
    table_records,
    unequal_lengths,
)

BLOCK_ROWS = 10_000
"""The largest number of rows in a block, or of lines if a row may have several lines.

All rows of a batch are rows of the same block.
"""

SAMPLED_BLOCKS = 10
"""A tokenizer is trained on at most this number of blocks, which are the first blocks in the order of training."""

_CHUNK = 2**24
_GROUPS = 2  # to make n batches, `divide_block` divides the rows into about `_GROUPS` · √n groups


class LineIndex:
    """Gives random access to blocks of lines in a text file; one pass over the file finds the first byte of each block.

    Args:
        path: the file.
        size: the number of lines of a block; the last block may have fewer.
    """

    def __init__(self, path: Path, size: int):
        self.path = path
        self.size = size
        self.count = 0
        self._starts = [0]
        length, last = 0, b"\n"
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n"))
                first = -(self.count + 1) % size  # index in `ends` of the first line end after which a block begins
                self._starts += (length + ends[first::size] + 1).tolist()
                self.count += len(ends)
                length, last = length + len(chunk), chunk[-1:]
        self.count += last != b"\n"
        del self._starts[-(-self.count // size) :]  # drop a start at the end of the file: no line follows it

    def __len__(self) -> int:
        """The number of blocks."""
        return len(self._starts)

    def lines(self, block: int, *, to_end: bool = False) -> Iterator[str]:
        """Yield the lines of a block; with `to_end`, all lines from the start of the block to the end of the file.

        Raises:
            InputError: at the first line that is not UTF-8.
        """
        with self.path.open("rb") as file:
            file.seek(self._starts[block])
            lines = file if to_end else itertools.islice(file, self.size)
            yield from decode_lines(lines, self.path, self.first(block))

    def first(self, block: int) -> int:
        """Return the line number, counted from 1, of the first line of a block; blocks are counted from 0."""
        return block * self.size + 1


class BlockFile(ABC):
    """Gives random access to the blocks of a training file, or of several parallel files.

    Args:
        paths: the file, or the parallel files.
        layout: the columns of a row.

    Raises:
        InputError: a file is malformed or holds no rows, parallel files have different numbers of lines, or the
            document separator cannot be used.
    """

    rows: int
    """The number of rows, including the blank lines of a table; it is estimated if a row may have several lines."""

    def __init__(self, paths: Sequence[Path], layout: Layout):
        self.paths = paths
        self.layout = layout

    @abstractmethod
    def __len__(self) -> int:
        """The number of blocks."""

    @abstractmethod
    def read(self, block: int) -> Dataset:
        """Read the rows of a block, with the columns of the layout."""

    def identity(self) -> str:
        """Return a text with the name and size of each file, and the number of rows."""
        return " ".join([*(f"{path.name} {path.stat().st_size}" for path in self.paths), str(self.rows)])

    def _as_dataset(self, rows: Iterator[tuple]) -> Dataset:
        names, values = list(self.layout.features), list(rows)
        columns = zip(*values, strict=True) if values else [()] * len(names)
        return Dataset.from_dict(dict(zip(names, map(list, columns), strict=True)), features=self.layout.features)


class ParallelBlocks(BlockFile):
    """Reads blocks of parallel text files, or of a single text file: line N of each file belongs to row N."""

    def __init__(self, paths: Sequence[Path], layout: Layout):
        super().__init__(paths, layout)
        self._indices = [LineIndex(path, BLOCK_ROWS) for path in paths]
        counts = [index.count for index in self._indices]
        if len(set(counts)) > 1:
            raise unequal_lengths(paths, counts)
        self.rows = counts[0]

    def __len__(self) -> int:
        return len(self._indices[0])

    def read(self, block: int) -> Dataset:
        """Read the rows of a block: a row for each line of the block."""
        texts = [index.lines(block) for index in self._indices]
        return self._as_dataset(parallel_rows(self.paths, self.layout, texts, self._indices[0].first(block)))


class DocumentBlocks(BlockFile):
    """Reads blocks of a text file with a separator between documents; a document may have several lines.

    A block begins at the first separator in its `BLOCK_ROWS` lines (the first block at the start of the file), and ends
    at the first separator after these lines, so that each document is in one block. A block other than the first block
    is empty if its lines have no separator. The number of rows is estimated from the first block.
    """

    def __init__(self, paths: Sequence[Path], layout: Layout):
        super().__init__(paths, layout)
        assert layout.document_separator is not None
        self._separator = layout.document_separator
        if "\n" in self._separator:
            raise InputError(
                f"document_separator is {self._separator!r}, but streaming looks for it in single lines: set it to "
                "blank_line, line, or a text without a line feed."
            )
        self._index = LineIndex(paths[0], BLOCK_ROWS)
        if len(self) > 1 and not any(map(self._separates, self._index.lines(0))):
            raise InputError(
                f"document_separator is {self._separator!r}, but separates no documents in the first {BLOCK_ROWS:,} "
                f"lines of {paths[0]}: set it to line, or to a separator (blank_line or a text) that occurs in these "
                "lines."
            )
        own = self._lines(0)
        self.rows = round(len(self._documents(own)) * self._index.count / len(own))

    def __len__(self) -> int:
        return len(self._index)

    def read(self, block: int) -> Dataset:
        """Read the documents that begin in the lines of a block."""
        return self._as_dataset((document,) for document in self._documents(self._lines(block)))

    def _documents(self, lines: list[str]) -> list[str]:
        return [document for document in split_documents(lines, self._separator) if document.strip()]

    def _lines(self, block: int) -> list[str]:
        """Return the lines of the documents of a block; the last document may end after the `BLOCK_ROWS` lines.

        Except in the first block, the lines before the first separator are left out: they belong to a document of an
        earlier block.
        """
        lines = self._index.lines(block, to_end=True)
        own = list(itertools.islice(lines, BLOCK_ROWS))
        if block:
            own = list(itertools.dropwhile(lambda line: not self._separates(line), own))
            own[:1] = [self._parts(line)[1] for line in own[:1]]
        for line in lines if own else ():
            if self._separates(line):
                own.append(self._parts(line)[0])
                break
            own.append(line)
        return own

    def _separates(self, line: str) -> bool:
        return not line.strip() if self._separator == BLANK_LINE else self._separator in line

    def _parts(self, line: str) -> tuple[str, str]:
        """Return the texts before and after the first separator in a line; for `blank_line`, both texts are empty."""
        before, _, after = ("", "", "") if self._separator == BLANK_LINE else line.partition(self._separator)
        return before, after


class TableBlocks(BlockFile):
    """Reads blocks of a TSV, CSV or JSON lines file in which each row is a single line."""

    def __init__(self, paths: Sequence[Path], layout: Layout):
        super().__init__(paths, layout)
        self._index = LineIndex(paths[0], BLOCK_ROWS)
        has_header = format_of(paths[0]) in (".tsv", ".csv")
        numbered = enumerate(self._index.lines(0), start=1)
        self._header = [next((entry for entry in numbered if entry[1].strip()), (1, ""))] if has_header else []
        self.rows = self._index.count - len(self._header)
        first = next(table_records(paths[0], enumerate(self._index.lines(0), start=1)), None)
        if first is None:
            raise InputError(
                f"{paths[0]} holds no {layout.row} in its first {BLOCK_ROWS:,} lines: give a file with at least one "
                f"{layout.row} in these lines."
            )
        self._names = layout.find(list(first[1]), paths[0])

    def __len__(self) -> int:
        return len(self._index)

    def read(self, block: int) -> Dataset:
        """Read the rows of a block: the records that `table_records` finds in its lines, without the header."""
        path = self.paths[0]
        lines = enumerate(self._index.lines(block), start=self._index.first(block))
        records = table_records(path, itertools.chain(self._header if block else [], lines))
        return self._as_dataset(
            read_record(self.layout, self._names, where, record, path.parent) for where, record in records
        )


class ParquetBlocks(BlockFile):
    """Reads blocks of a Parquet file; the row groups that hold rows of a block are read as a whole."""

    def __init__(self, paths: Sequence[Path], layout: Layout):
        super().__init__(paths, layout)
        check_parquet(paths[0])
        with ParquetFile(paths[0]) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            empty = Dataset(file.schema_arrow.empty_table()).flatten()
        self._ends = np.cumsum(sizes)
        self._columns = layout.find(empty.column_names, paths[0])
        self.rows = sum(sizes)
        if not self.rows:
            raise InputError(f"{paths[0]} holds no {layout.row}: give a file with at least one {layout.row}.")

    def __len__(self) -> int:
        return -(-self.rows // BLOCK_ROWS)

    def read(self, block: int) -> Dataset:
        """Read the rows of a block from the row groups that hold them."""
        start, stop = block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.rows)
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right").tolist()
        before = int(self._ends[first - 1]) if first else 0
        with ParquetFile(self.paths[0]) as file:
            table = file.read_row_groups(range(first, last + 1), columns=self._columns)
        rows = Dataset(table.slice(start - before, stop - start))
        with hidden_bars():
            rows = select_columns(rows, self.layout, str(self.paths[0]), self.paths[0].parent, start + 1)
            # `concatenate_datasets` needs equal column types, and a text column of a Parquet file may be large_string
            return rows if rows.features == self.layout.features else rows.cast(self.layout.features)


def open_blocks(files: str | Sequence[str], layout: Layout) -> list[BlockFile]:
    """Open the training files for streaming.

    Returns:
        A `BlockFile` for each table or text file of documents, or one `BlockFile` for all parallel text files.

    Raises:
        InputError: a file is missing, empty, compressed or malformed; a table has no rows or lacks a column; tables and
            text files are mixed; the number of parallel text files is not the number of columns, or their numbers of
            lines differ; or streaming cannot use the document separator of `layout`.
    """
    given = [files] if isinstance(files, str) else files
    paths = [existing_file(file) for file in given]
    for path in paths:
        if path.suffix.lower() == GZIP:
            raise InputError(f"{path} is compressed, but streaming begins to read in the middle of a file: unpack it.")
    tables = [path for path in paths if is_table(path)]
    separator = layout.document_separator
    if not tables and separator == FILE:
        raise InputError(
            f"document_separator is file, so {paths[0]} is a single document, but streaming reads the documents of a "
            "file in blocks: set document_separator to blank_line, line, or a text that stands between two documents, "
            "or give a table of documents."
        )
    if not tables and separator is not None:
        return [(ParallelBlocks if separator == EACH_LINE else DocumentBlocks)([path], layout) for path in paths]
    if not tables and len(paths) == len(layout.columns):
        return [ParallelBlocks(paths, layout)]
    if len(tables) < len(paths):
        texts = "text files only" if separator is not None else f"{len(layout.columns)} parallel text files"
        raise InputError(
            f"train_file is {' and '.join(map(str, paths))}, but streaming takes either tables only or {texts}: change "
            "train_file."
        )
    return [(ParquetBlocks if format_of(path) == ".parquet" else TableBlocks)([path], layout) for path in paths]


class BlockOrder:
    """The infinite sequence in which a run reads the blocks of all files; it is a function of the seed.

    The sequence consists of passes. If a file has n blocks and the weight w, the blocks of the file are permuted over
    and over, and each pass takes the next w · n blocks of these permutations, rounded so that the first k passes have
    ⌊k · w · n⌋ blocks together: on average, a pass has each block of the file w times. The blocks of all files in a
    pass are shuffled together.

    Args:
        counts: the number of blocks of each file.
        weights: the weight of each file, above 0.
        seed: the seed of all permutations.
    """

    def __init__(self, counts: Sequence[int], weights: Sequence[float], seed: int):
        self._counts = counts
        # exact arithmetic, as 3 · 0.1 is above 0.3 in floating point
        self._shares = [Fraction(str(weight)) * count for count, weight in zip(counts, weights, strict=True)]
        self._seed = seed

    def block_at(self, position: int) -> tuple[int, int]:
        """Return the index of the file, and the index of the block in it, at `position` (from 0) in the sequence."""
        # as `_begin` rounds down, this is not above the number of the pass that `position` belongs to
        number = int(position / sum(self._shares))
        while self._begin(number + 1) <= position:
            number += 1
        order = np.random.default_rng((self._seed, 0, number)).permutation(
            self._begin(number + 1) - self._begin(number)
        )
        place = int(order[position - self._begin(number)])
        for file, share in enumerate(self._shares):
            first, end = int(share * number), int(share * (number + 1))
            if place < end - first:
                return file, self._of_file(file, first + place)
            place -= end - first
        raise AssertionError("the blocks of all files must add up to the blocks of the pass")

    def _begin(self, number: int) -> int:
        """Return the position at which the pass `number` begins."""
        return sum(int(share * number) for share in self._shares)

    def _of_file(self, file: int, place: int) -> int:
        """Return the index of the block at `place` in the endless sequence of permutations of the blocks of `file`."""
        repeat, place = divmod(place, self._counts[file])
        return int(np.random.default_rng((self._seed, file + 1, repeat)).permutation(self._counts[file])[place])


class Blocks:
    """Reads a block of the training files by its position in the `BlockOrder`.

    Args:
        files: the training files.
        weights: the weight of each file; None if all weights are 1.
        seed: the seed of the order.

    Raises:
        InputError: the number of weights differs from the number of files.
    """

    def __init__(self, files: Sequence[BlockFile], weights: Sequence[float] | None, seed: int):
        if weights is not None and len(weights) != len(files):
            raise InputError(
                f"train_weights has {len(weights)} weights, but train_file has {len(files)} files (parallel text files "
                "count as one file): give one weight for each file."
            )
        self.files = files
        self.order = BlockOrder(list(map(len, files)), weights or [1.0] * len(files), seed)

    @property
    def rows(self) -> int:
        """The number of rows of all files together."""
        return sum(file.rows for file in self.files)

    def __len__(self) -> int:
        """The number of blocks of all files together."""
        return sum(map(len, self.files))

    def read(self, position: int) -> Dataset:
        """Read the rows of the block at `position` in the order of the blocks."""
        file, block = self.order.block_at(position)
        return self.files[file].read(block)

    def first(self) -> Dataset:
        """Read the first block of the first file."""
        return self.files[0].read(0)

    def sample(self) -> Dataset:
        """Read the rows of the blocks at the first positions, each block once.

        The number of positions is `SAMPLED_BLOCKS`, or the number of blocks if there are fewer blocks.
        """
        found = dict.fromkeys(self.order.block_at(place) for place in range(min(SAMPLED_BLOCKS, len(self))))
        return concatenate_datasets([self.files[file].read(block) for file, block in found])

    def identity(self) -> str:
        """Return a text with the names, sizes and numbers of rows of the files.

        A resumed run compares it with the text of the interrupted run, to notice that the files have changed.
        """
        return ", ".join(file.identity() for file in self.files)


class EncodedBlock(NamedTuple):
    """The training rows of a block, the numbers of tokens of each row, and the number of dropped rows by reason.

    `lengths` has the shape `(rows, 1)`, or `(rows, 2)` for pairs of texts.
    """

    rows: TrainingRows
    lengths: np.ndarray
    dropped: Mapping[str, int]


class Batches(NamedTuple):
    """The batches of the block at `position`, and the number of dropped rows by reason.

    A batch is a dict from the name of a model input to an array.
    """

    position: int
    batches: list[dict[str, np.ndarray]]
    dropped: Mapping[str, int]


def divide_block(
    lengths: np.ndarray, position: int, *, max_tokens: int | None, batch_size: int | None, seed: int
) -> list[list[int]]:
    """Divide the rows of a block into batches of rows of similar lengths.

    The rows are sorted by their first length and cut into groups with about the same number of tokens. The rows of a
    group are then sorted by their last length: in ascending order in one group, and in descending order in the next
    group, so that rows at the border of two groups have similar last lengths. Batches are filled in this order, and
    shuffled. `LengthBatchSampler` is not used, because a block has few batches: the batches would have more padding, as
    each cell of the sampler fills at least three batches, and fewer batches would be full, as the sampler rounds up the
    number of batches of each cell.

    Args:
        lengths: the numbers of tokens of every row, `(rows, 1)`, or `(rows, 2)` for pairs of texts.
        position: the position of the block; with `seed`, it decides the cuts, the order of rows with equal lengths, and
            the order of the batches.
        max_tokens: the largest number of tokens in a batch, padding included. A row of more tokens is a batch by
            itself.
        batch_size: the largest number of rows in a batch; either `batch_size` or `max_tokens` is None.
        seed: the seed of the random generator.
    """
    most_tokens, most_rows = (np.inf if limit is None else limit for limit in (max_tokens, batch_size))
    rng = np.random.default_rng((seed, position))
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order, 0], kind="stable")]
    number = max(len(lengths) / most_rows, lengths.sum() / most_tokens)
    before = lengths[order].sum(axis=1).cumsum() / lengths.sum()
    group = np.floor(_GROUPS * np.sqrt(number) * before + rng.random())
    order = order[np.lexsort((lengths[order, -1] * (-1) ** group, group))]
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = np.zeros(lengths.shape[1], dtype=np.int64)
    for row in order.tolist():
        longest = np.maximum(longest, lengths[row])
        rows = len(batch) + 1
        if batch and (rows > most_rows or rows * longest.sum() > most_tokens):
            batches.append(batch)
            batch, longest = [], lengths[row]
        batch.append(row)
    batches.append(batch)
    return [batches[number] for number in rng.permutation(len(batches))]


class BlockBatches(TorchDataset[Batches | InputError]):
    """Reads the batches of a block by the position of the block.

    The batches are the same in every process and in every worker of a DataLoader.

    Args:
        blocks: the blocks of the training files.
        encode: converts the rows of a block to training rows, and drops rows that cannot be used.
        divide: divides the rows of a block into batches, from the lengths of the rows and the position of the block.
        collator: makes a batch of tensors from rows.
    """

    def __init__(
        self,
        blocks: Blocks,
        encode: Callable[[Dataset], EncodedBlock],
        divide: Callable[[np.ndarray, int], list[list[int]]],
        collator: Callable[[list[Any]], Mapping[str, torch.Tensor]],
    ):
        self.blocks = blocks
        self.encode = encode
        self.divide = divide
        self.collator = collator

    def __getitem__(self, position: int) -> Batches | InputError:
        """Return the batches of a block.

        An `InputError` is returned, not raised: if a worker raised the error, the DataLoader would change its message.
        """
        try:
            block = self.blocks.read(position)
            if not len(block):
                return Batches(position, [], {})
            with hidden_bars():
                rows, lengths, dropped = self.encode(block)
        except InputError as error:
            return error
        if not len(rows):
            return Batches(position, [], dropped)
        keys = ([(position, row) for row in batch] for batch in self.divide(lengths, position))
        batches = [self.collator(rows.__getitems__(batch)) for batch in keys]
        # arrays are sent from a worker by value; each tensor would take a file descriptor of shared memory
        return Batches(
            position, [{name: tensor.numpy() for name, tensor in batch.items()} for batch in batches], dropped
        )


class Place(NamedTuple):
    """The place of the next batch of a process, and the numbers of rows dropped from its earlier blocks, by reason.

    `position` is the position of the block that has the batch, and `batch` is the index of the batch in the block.
    """

    position: int
    batch: int
    dropped: dict[str, int]


class StreamLoader:
    """Yields the batches of one process without end, from `place` on, and keeps `place` up to date.

    Each of n processes reads every n-th block in the order of the blocks, so each position is read by one process.

    Args:
        dataset: the batches of each block.
        num_replicas: the number of processes that train together.
        rank: the number of this process, from 0 on.
        dataloader_kwargs: further arguments of :class:`torch.utils.data.DataLoader`, such as ``num_workers``; a worker
            reads whole blocks ahead.
    """

    def __init__(self, dataset: BlockBatches, *, num_replicas: int = 1, rank: int = 0, **dataloader_kwargs: Any):
        self.dataset = dataset
        self.place = Place(rank, 0, {})
        self.passes = 0.0
        self._num_replicas = num_replicas
        self._dataloader_kwargs = dataloader_kwargs

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        positions: Any = itertools.count(self.place.position, self._num_replicas)
        generator = torch.Generator()  # otherwise the loader would draw from the global generator, which dropout uses
        loader = DataLoader(
            self.dataset,
            batch_size=None,
            sampler=positions,
            collate_fn=_unchanged,
            generator=generator,
            **self._dataloader_kwargs,
        )
        for block in loader:
            if isinstance(block, InputError):
                raise block
            yield from self._batches_of(block)

    def _batches_of(self, block: Batches) -> Iterator[dict[str, torch.Tensor]]:
        for number in range(self.place.batch, len(block.batches)):
            self.place = self.place._replace(batch=number + 1)
            self.passes = (block.position + (number + 1) / len(block.batches)) / len(self.dataset.blocks)
            yield {name: torch.from_numpy(array) for name, array in block.batches[number].items()}
        dropped = dict(self.place.dropped)
        for name, count in block.dropped.items():
            dropped[name] = dropped.get(name, 0) + count
        self.place = Place(block.position + self._num_replicas, 0, dropped)


def _unchanged(item: Any) -> Any:
    return item


def estimate_counts(summary: Mapping[str, Any], blocks: Blocks, sample: int) -> dict[str, Any]:
    """Return the summary of a streamed run, with counts for train that are estimated for the rows of all blocks.

    The counts for train in `summary` are those of a block of `sample` rows; all counts except medians are scaled to the
    number of all rows. The numbers of dropped rows, and of test rows that are also in train, are left out, as one block
    is not enough to estimate them.
    """
    kept = {name: value for name, value in summary.items() if name not in ("dropped", "test_in_train")}
    rows = blocks.rows
    counts, factor = summary["train"], rows / sample
    scaled = {name: count if name.startswith("median") else round(count * factor) for name, count in counts.items()}
    return {**kept, "train": scaled, "streamed": {"rows": rows, "blocks": len(blocks), "counted_rows": sample}}
