# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training batches of rows of similar length, so that a batch has little padding."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from ..errors import InputError

Key = tuple[int, int]
"""(epoch, index of a row): the key with which a row of `TrainingRows` is read for an epoch.

In a streamed run, a key is (position of a block in the order of the blocks, index of a row in the block).
"""


class LengthBatchSampler(Sampler[list[Key]]):
    """Samples batches of rows of similar length, and distributes the batches over the processes.

    A row has one length or several, such as the lengths of its source and its target. The rows are divided into cells
    by their lengths: at first, all rows form one cell; a cell is cut in two at the point that saves the most padding,
    and its parts are cut in the same way, until no cut saves padding. Each part must fill at least three batches, and
    at least a 200th of all batches. In each epoch, the rows of each cell are shuffled and divided into batches, and the
    batches of all cells are shuffled. The cells are the same in every epoch, so every epoch has the same number of
    batches. Every epoch has every row once. The shuffling depends on `seed` and the epoch only.

    With several processes, some cells are divided into more batches, until the number of batches is a multiple of the
    number of processes. In each step, the processes get batches of rows of similar length, from one cell or from
    neighbouring cells.

    Yields lists of keys (epoch, row), so that a worker of a DataLoader learns the epoch from the keys.

    Args:
        lengths: the numbers of tokens of every row, integers of shape (rows, 1), or (rows, 2) for pairs of texts.
        max_tokens: the largest number of tokens in a batch of one process, padding included: the number of rows in the
            batch times the sum of the largest first length and, for pairs, the largest second length. A row of more
            tokens is a batch by itself.
        batch_size: the largest number of rows in a batch; exactly one of `batch_size` and `max_tokens` must be given.
        seed: the seed of the shuffling.
        num_replicas: the number of processes that train together.
        rank: the number of the process for which this sampler yields batches, from 0 on.

    Raises:
        InputError: if the rows cannot be divided into the same number of batches for each process.
    """

    def __init__(
        self,
        lengths: Sequence[Sequence[int]] | np.ndarray,
        *,
        max_tokens: int | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ):
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.seed = seed
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self._max_tokens = max_tokens
        self._rows_per_batch = batch_size
        self._cells = self._part_into_cells()
        self._batches_per_cell = self._count_batches()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """The number of batches of one process in an epoch."""
        return int(self._batches_per_cell.sum()) // self.num_replicas

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        rng = np.random.default_rng((self.seed, epoch))
        batches = [
            batch
            for cell, count in zip(self._cells, self._batches_per_cell, strict=True)
            for batch in np.array_split(rng.permutation(cell), count)
        ]
        # in a step, the processes take consecutive batches, whose rows have similar lengths, so that no process has to
        # wait long for the others
        for step in rng.permutation(len(self)):
            yield [(epoch, row) for row in batches[step * self.num_replicas + self.rank].tolist()]

    def _capacity(self, longest: np.ndarray) -> np.ndarray:
        """Return, for each n in `longest`, the largest number of rows in a batch whose longest row has n tokens."""
        if self._rows_per_batch is not None:
            return np.full_like(longest, self._rows_per_batch)
        return np.maximum(1, self._max_tokens // longest)

    def _part_into_cells(self) -> list[np.ndarray]:
        if self._rows_per_batch is not None:
            batches = len(self.lengths) / self._rows_per_batch
        else:
            batches = self.lengths.sum() / self._max_tokens
        least = max(3, int(batches / 200))

        cells, pending = [], [np.arange(len(self.lengths))]
        while pending:
            rows = pending.pop()
            parts = self._cut(rows, least)
            if parts is None:
                cells.append(rows)
            else:
                pending += reversed(parts)
        return cells

    def _cut(self, rows: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Sort `rows` by the length of one side (source or target), and cut them into two parts.

        The method chooses the side and the cut with which batches have the least padding. Each part fills at least
        `least` batches. The method returns None if no such cut saves padding, for example if all lengths are equal.
        """
        best_cost, best_parts = len(rows) * self.lengths[rows].max(axis=0).sum(), None
        sides = range(self.lengths.shape[1])
        for side in sides:
            # np.lexsort sorts by the last key, and sorts rows with equal last keys by the other keys
            keys = [self.lengths[rows, other] for other in sides if other != side] + [self.lengths[rows, side]]
            ordered = rows[np.lexsort(keys)]
            lengths = self.lengths[ordered]
            below = np.arange(1, len(rows))
            above = len(rows) - below
            longest_below = np.maximum.accumulate(lengths)[:-1].sum(axis=1)
            longest_above = np.maximum.accumulate(lengths[::-1])[::-1][1:].sum(axis=1)
            allowed = below >= least * self._capacity(longest_below)
            allowed &= above >= least * self._capacity(longest_above)
            if self._rows_per_batch is not None:  # cut at a multiple of the batch size, so that most batches are full
                allowed &= below % self._rows_per_batch == 0
            cost = np.where(allowed, below * longest_below + above * longest_above, np.inf)
            if allowed.any() and cost.min() < best_cost:
                best_cost = cost.min()
                best_parts = ordered[: cost.argmin() + 1], ordered[cost.argmin() + 1 :]
        return best_parts

    def _count_batches(self) -> np.ndarray:
        """Count the batches of each cell: as few as possible, with a total that is a multiple of `num_replicas`."""
        sizes = np.array([len(cell) for cell in self._cells])
        longest = np.array([self.lengths[cell].max(axis=0).sum() for cell in self._cells])
        counts = -(-sizes // self._capacity(longest))
        while counts.sum() % self.num_replicas:
            if (counts == sizes).all():
                raise InputError(
                    f"{sizes.sum():,} training rows in batches of one row cannot be divided evenly among "
                    f"{self.num_replicas} processes: use one process, or larger batches and at least "
                    f"{self.num_replicas} training rows."
                )
            tokens = np.where(counts < sizes, -(-sizes // counts) * longest, 0)
            counts[tokens.argmax()] += 1
        return counts


def padding_share(lengths: Sequence[Sequence[int]] | np.ndarray, batches: Sequence[list[int]]) -> float:
    """Return the share of the tokens of `batches` that are padding; a batch is a list of indices into `lengths`."""
    lengths = np.asarray(lengths)
    slots = sum(len(batch) * int(lengths[batch].max(axis=0).sum()) for batch in batches)
    tokens = sum(int(lengths[batch].sum()) for batch in batches)
    return 1 - tokens / slots


Row = dict[str, Any]


class TrainingRows(TorchDataset[Row]):
    """A dataset of training rows that are read by keys (epoch, row).

    `vary` changes a row anew for each epoch, with a random generator that is seeded by (`seed`, epoch, row). So the
    changed row depends neither on the process or worker that reads it, nor on whether the run was resumed.

    Args:
        dataset: the rows, with the columns that the model takes, and further columns that `vary` needs.
        vary: a function that takes a row and a random generator, and returns the row for an epoch; None to leave the
            rows as they are. Each worker of a DataLoader has a copy of this function.
        seed: the seed of the random generators.
    """

    def __init__(self, dataset: Dataset, vary: Callable[[Row, random.Random], Row] | None = None, *, seed: int = 0):
        self.dataset = dataset
        self.vary = vary
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: list[Key]) -> list[Row]:
        """Read all rows of a batch at once, which is faster than row by row."""
        columns = self.dataset[[row for _, row in keys]]
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if self.vary is None:
            return rows
        # random.Random derives the same state from a string in every process
        generators = (random.Random(f"{self.seed} {epoch} {row}") for epoch, row in keys)
        return [self.vary(row, generator) for row, generator in zip(rows, generators, strict=True)]


def build_training_dataloader(
    dataset: TrainingRows,
    sampler: LengthBatchSampler,
    collator: Callable[[list[Row]], Any],
    accelerator: Accelerator,
    **dataloader_kwargs: Any,
) -> DataLoader:
    """Build the DataLoader that a Trainer's ``get_train_dataloader`` returns.

    The sampler yields only the batches of this process (it has ``num_replicas=accelerator.num_processes`` and
    ``rank=accelerator.process_index``), so Accelerate gets ``num_processes=1`` and does not shard the batches. If
    Accelerate sharded them, the Trainer could not call ``set_epoch`` of the sampler when it resumes within an epoch.
    No random state is synchronised between processes, as the order of the batches depends on no global random state.

    Args:
        dataset: the training data.
        sampler: the sampler of the batches, made from the lengths of the rows of `dataset`.
        collator: makes a batch of tensors from rows, as :class:`transformers.DataCollatorForSeq2Seq` does.
        accelerator: the accelerator of the Trainer.
        dataloader_kwargs: further arguments of :class:`torch.utils.data.DataLoader`, such as ``num_workers``.
    """
    generator = torch.Generator()  # otherwise the loader would draw from the global generator, which dropout uses
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collator, generator=generator, **dataloader_kwargs)
    return prepare_data_loader(
        loader,
        accelerator.device,
        num_processes=1,
        process_index=0,
        put_on_device=True,
        rng_types=None,
        dispatch_batches=False,
        non_blocking=accelerator.non_blocking,
    )
