# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The speed, the padding, the memory and the time left in the log of a run."""

from types import SimpleNamespace

import psutil
import pytest
import torch
from accelerate import Accelerator

from locant.training.run import throughput
from locant.training.run.throughput import GIB, Throughput


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now.seconds)
    return now


def state(step):
    return SimpleNamespace(global_step=step, max_steps=100)


def begin(labels_are_inputs):
    found = Throughput(Accelerator(cpu=True), labels_are_inputs)
    found.on_train_begin(None, state(20), None)
    return found


MASK = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
LABELS = torch.tensor([[5, 6], [7, -100]])
IDS = torch.ones(2, 4)
BATCHES = {
    "encoder_and_decoder": ({"input_ids": IDS, "attention_mask": MASK, "labels": LABELS}, True, 8, 12),
    "captions": ({"pixel_values": torch.ones(2, 1, 8, 8), "labels": LABELS}, True, 3, 4),
    "classes": ({"input_ids": IDS, "attention_mask": MASK, "labels": torch.tensor([0, 1])}, False, 5, 8),
    "masked_tokens": ({"input_ids": IDS, "attention_mask": MASK, "labels": torch.full((2, 4), -100)}, False, 5, 8),
    "packed_documents": (
        {"input_ids": IDS, "document_ids": MASK.cumsum(1) - 1 - (1 - MASK) * 9, "labels": IDS},
        False,
        5,
        8,
    ),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_counts_the_tokens_of_each_kind_of_batch(clock, kind):
    batch, labels_are_inputs, tokens, slots = BATCHES[kind]
    found = begin(labels_are_inputs)
    found.count(batch)
    found.count(batch)
    clock.seconds += 4
    found.on_step_end(None, state(22), None)
    entry = found.entry(state(22))
    assert entry["tokens_per_second"] == 2 * tokens / 4
    assert entry["padding"] == pytest.approx(1 - tokens / slots)
    assert "images_per_second" not in entry


def test_speed_leaves_out_evaluations_and_the_time_left_includes_them(clock):
    found = begin(True)
    for trained, evaluated, step in ((5.0, 5.0, 30), (10.0, 15.0, 50)):
        found.count(BATCHES["captions"][0])
        clock.seconds += trained
        found.on_step_end(None, state(step), None)
        entry = found.entry(state(step))
        assert entry["tokens_per_second"] == pytest.approx(3 / trained)
        clock.seconds += evaluated
        found.on_evaluate(None, state(step), None)
    assert entry["seconds_left"] == pytest.approx(50 * 20 / 30)


def test_speed_includes_the_steps_before_a_checkpoint_and_not_the_checkpoint(clock):
    found = begin(True)
    for _ in range(3):
        found.count(BATCHES["captions"][0])
        clock.seconds += 2
        found.on_step_end(None, state(30), None)
        clock.seconds += 100
        found.on_save(None, state(30), None)
    assert found.entry(state(30))["tokens_per_second"] == pytest.approx(3 / 2)


def test_speed_is_of_images_if_a_batch_has_no_tokens(clock):
    found = begin(False)
    found.count({"pixel_values": torch.ones(5, 1, 8, 8), "labels": torch.zeros(5)})
    clock.seconds += 2
    found.on_step_end(None, state(21), None)
    entry = found.entry(state(21))
    assert entry["images_per_second"] == 2.5
    assert not {"tokens_per_second", "padding"} & entry.keys()


def test_memory_is_that_of_the_process_in_gib(clock):
    in_use = psutil.Process().memory_info().rss / GIB
    assert begin(False).entry(state(21))["memory_gib"] == pytest.approx(in_use, rel=0.1)
