# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training batches of rows of like length, so that little of them is padding."""

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

from .errors import InputError

Key = tuple[int, int]
"""(epoch, row): what the sampler asks the training data for."""


class LengthBatchSampler(Sampler[list[Key]]):
    """Batches of rows of like length, new ones in every epoch, shared out among processes.

    A row has one length or several, such as those of source and target. The rows are first parted into cells by
    their lengths, cut after cut where it saves most padding, as long as a cell still fills several batches (a
    200th of all, and three at the least). An epoch shuffles each cell, deals it into batches, and shuffles these.
    As the cells stay, every epoch has the same number of batches, and every row once. All depends on (`seed`,
    epoch) alone. Rows of one length only, such as images, are one cell: plain batches.

    With several processes, some cells are dealt into more batches until each process gets as many, and what
    the processes work on at the same time are batches of like size.

    Yields lists of keys (epoch, row), so that the data can vary with the epoch without shared state.

    Args:
        lengths: tokens of every row; integers of shape (rows, lengths of a row), such as (pairs, 2).
        max_tokens: budget of a batch on one device, padding included: rows × (longest of the first lengths + of the
            second + …) stays within it. A row that is longer on its own is a batch by itself.
        batch_size: rows in a batch; give either this or `max_tokens`.
        seed: of the shuffling.
        num_replicas: processes that train together.
        rank: which of them this sampler is for.

    Raises:
        ValueError: if not exactly one of `max_tokens` and `batch_size` is given.
        InputError: if the processes cannot get equally many batches.
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
        if (max_tokens is None) == (batch_size is None):
            raise ValueError(f"Give either max_tokens or batch_size, got {max_tokens} and {batch_size}.")
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
        """Choose the epoch that the next iteration gives the batches of."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch, for one process."""
        return int(self._batches_per_cell.sum()) // self.num_replicas

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        rng = np.random.default_rng((self.seed, epoch))
        batches = [
            batch
            for cell, count in zip(self._cells, self._batches_per_cell, strict=True)
            for batch in np.array_split(rng.permutation(cell), count)
        ]
        # Neighbouring batches are of one cell or of like ones, so that the processes of a step wait little.
        for step in rng.permutation(len(self)):
            yield [(epoch, row) for row in batches[step * self.num_replicas + self.rank].tolist()]

    def _capacity(self, longest: np.ndarray) -> np.ndarray:
        """Rows in a batch, where the longest of each length have `longest` tokens together."""
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
        """Cut `rows` by one length where the cut saves most padding, with `least` batches on both sides.

        None if no cut saves any padding, as among rows of equal length.
        """
        best_cost, best_parts = len(rows) * self.lengths[rows].max(axis=0).sum(), None
        sides = range(self.lengths.shape[1])
        for side in sides:
            # the last key sorts first, and the others where that one is equal
            keys = [self.lengths[rows, other] for other in sides if other != side] + [self.lengths[rows, side]]
            ordered = rows[np.lexsort(keys)]
            lengths = self.lengths[ordered]
            below = np.arange(1, len(rows))
            above = len(rows) - below
            longest_below = np.maximum.accumulate(lengths)[:-1].sum(axis=1)
            longest_above = np.maximum.accumulate(lengths[::-1])[::-1][1:].sum(axis=1)
            allowed = below >= least * self._capacity(longest_below)
            allowed &= above >= least * self._capacity(longest_above)
            if self._rows_per_batch is not None:  # all batches but one cell's stay full
                allowed &= below % self._rows_per_batch == 0
            cost = np.where(allowed, below * longest_below + above * longest_above, np.inf)
            if allowed.any() and cost.min() < best_cost:
                best_cost = cost.min()
                best_parts = ordered[: cost.argmin() + 1], ordered[cost.argmin() + 1 :]
        return best_parts

    def _count_batches(self) -> np.ndarray:
        """Batches that each cell is dealt into: as few as fit, and a multiple of `num_replicas` in all."""
        sizes = np.array([len(cell) for cell in self._cells])
        longest = np.array([self.lengths[cell].max(axis=0).sum() for cell in self._cells])
        counts = -(-sizes // self._capacity(longest))
        while counts.sum() % self.num_replicas:
            if (counts == sizes).all():
                raise InputError(
                    f"{sizes.sum():,} training rows in batches of one cannot be shared out evenly among "
                    f"{self.num_replicas} processes: allow more rows in a batch, or use fewer processes."
                )
            tokens = np.where(counts < sizes, -(-sizes // counts) * longest, 0)
            counts[tokens.argmax()] += 1
        return counts


def padding_share(lengths: Sequence[Sequence[int]] | np.ndarray, batches: Sequence[list[int]]) -> float:
    """Return the share of the token slots in `batches` (lists of rows of `lengths`) that hold padding."""
    lengths = np.asarray(lengths)
    slots = sum(len(batch) * int(lengths[batch].max(axis=0).sum()) for batch in batches)
    tokens = sum(int(lengths[batch].sum()) for batch in batches)
    return 1 - tokens / slots


Row = dict[str, Any]


class TrainingRows(TorchDataset[Row]):
    """Training data by key (epoch, row).

    With `vary`, a row is made anew in each epoch, with a generator seeded by (`seed`, epoch, row), so it makes no
    difference which process or worker reads it, or whether the run was resumed.

    Args:
        dataset: what the model takes, and whatever `vary` needs.
        vary: what a row becomes in an epoch, given the row and a generator; it goes to worker processes.
        seed: of the variations.
    """

    def __init__(self, dataset: Dataset, vary: Callable[[Row, random.Random], Row] | None = None, *, seed: int = 0):
        self.dataset = dataset
        self.vary = vary
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Row:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[Key]) -> list[Row]:
        """Read a batch at once, which a DataLoader prefers and Arrow is several times faster at."""
        columns = self.dataset[[row for _, row in keys]]
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if self.vary is None:
            return rows
        # a string is hashed the same way in every process
        generators = (random.Random(f"{self.seed} {epoch} {row}") for epoch, row in keys)
        return [self.vary(row, generator) for row, generator in zip(rows, generators, strict=True)]


def build_training_dataloader(
    dataset: TrainingRows,
    sampler: LengthBatchSampler,
    collator: Callable[[list[Row]], Any],
    accelerator: Accelerator,
    **dataloader_kwargs: Any,
) -> DataLoader:
    """Build the loader that a Trainer's ``get_train_dataloader`` returns.

    The sampler gives this process its share by itself (it is made with
    ``num_replicas=accelerator.num_processes`` and ``rank=accelerator.process_index``), so Accelerate is told
    of one process. Its own sharding would hide the sampler's ``set_epoch`` from the Trainer where it resumes
    within an epoch. No random state needs to be
    synchronised: the order of the data draws on none.

    Args:
        dataset: the training data.
        sampler: with the lengths of their rows.
        collator: makes a batch of tensors, as :class:`transformers.DataCollatorForSeq2Seq` does.
        accelerator: the Trainer's.
        dataloader_kwargs: for the :class:`torch.utils.data.DataLoader`: ``num_workers``, ``pin_memory`` and
            so on.
    """
    generator = torch.Generator()  # or starting workers would draw on the one that dropout uses
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
