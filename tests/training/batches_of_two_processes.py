# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""One process that trains on the batches of two processes, to compare what it learns with what the two learn."""

from locant.training.data.batching import LengthBatchSampler


class BatchesOfTwoProcesses:
    """For one process that accumulates two batches a step: those that two processes take in that step."""

    def __init__(self, lengths, *, num_replicas, rank, **options):
        self.samplers = [LengthBatchSampler(lengths, num_replicas=2, rank=rank, **options) for rank in (0, 1)]

    def set_epoch(self, epoch):
        for sampler in self.samplers:
            sampler.set_epoch(epoch)

    def __len__(self):
        return sum(map(len, self.samplers))

    def __iter__(self):
        for batches in zip(*self.samplers, strict=True):
            yield from batches
