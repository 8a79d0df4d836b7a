# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Length batches: what they hold, how epochs and processes differ, and what the training loader gives."""

import random

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from tokenizers import Tokenizer, models
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerFast

from locant.training.data.batching import LengthBatchSampler, TrainingRows, build_training_dataloader, padding_share
from locant.training.data.preprocessing import SOURCE, TARGET, Growth, Resegmentation, pair_lengths
from locant.training.errors import InputError


def corpus_lengths(pairs, seed=0):
    """Lengths as in a corpus: skewed, and much alike on both sides."""
    rng = np.random.default_rng(seed)
    source = np.exp(rng.normal(3, 0.7, pairs))
    target = source * np.exp(rng.normal(0.1, 0.2, pairs))
    return np.stack([source, target], axis=1).astype(int) + 2


LENGTHS = corpus_lengths(3000)
SIZES = [{"batch_size": 16}, {"max_tokens": 1024}, {"max_tokens": 60}, {"batch_size": 4000}, {"batch_size": 1}]


def rows_of(sampler, epoch=0):
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert {key_epoch for batch in batches for key_epoch, _ in batch} == {epoch}
    return [[row for _, row in batch] for batch in batches]


def slots(batch):
    return len(batch) * LENGTHS[batch].max(axis=0).sum()


class TestBatches:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("replicas", [1, 3])
    def test_each_pair_comes_once_an_epoch_in_equally_many_batches(self, size, replicas):
        samplers = [
            LengthBatchSampler(LENGTHS, **size, seed=5, num_replicas=replicas, rank=rank) for rank in range(replicas)
        ]
        for epoch in range(3):
            shares = [rows_of(sampler, epoch) for sampler in samplers]
            assert [len(share) for share in shares] == [len(sampler) for sampler in samplers]
            assert len({len(share) for share in shares}) == 1
            assert sorted(row for share in shares for batch in share for row in batch) == list(range(3000))

    @pytest.mark.parametrize("budget", [60, 1024, 5000])
    def test_budget_holds_padding_included(self, budget):
        for batch in rows_of(LengthBatchSampler(LENGTHS, max_tokens=budget)):
            assert slots(batch) <= budget or len(batch) == 1

    def test_budget_is_used(self):
        batches = rows_of(LengthBatchSampler(LENGTHS, max_tokens=1024))
        assert np.mean([slots(batch) for batch in batches]) > 0.8 * 1024

    def test_batches_of_sentences_are_full(self):
        sizes = [len(batch) for batch in rows_of(LengthBatchSampler(LENGTHS[:2990], batch_size=16))]
        assert len(sizes) == 187  # as few as can be
        assert set(sizes) == {16, 15}
        assert sizes.count(15) == 2

    @pytest.mark.parametrize("size", [{"batch_size": 16}, {"max_tokens": 1024}])
    def test_little_is_padding(self, size):
        lengths = corpus_lengths(12_000)
        share = padding_share(lengths, rows_of(LengthBatchSampler(lengths, **size)))
        unsorted = padding_share(lengths, np.arange(12_000).reshape(-1, 16).tolist())
        assert share < 0.08 < 0.5 < unsorted

    def test_epochs_pair_up_other_sentences(self):
        sampler = LengthBatchSampler(LENGTHS, batch_size=16)
        first, second = rows_of(sampler, 0), rows_of(sampler, 1)
        together = {frozenset((a, b)) for batch in first for a in batch for b in batch if a != b}
        again = [frozenset((a, b)) in together for batch in second for a in batch for b in batch if a != b]
        assert np.mean(again) < 0.4

    def test_batches_come_in_no_order_of_length(self):
        longest = [LENGTHS[batch].max() for batch in rows_of(LengthBatchSampler(LENGTHS, batch_size=16))]
        assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.25

    def test_order_depends_on_seed_and_epoch_alone(self):
        def rows(seed, epoch, before=()):
            sampler = LengthBatchSampler(LENGTHS, batch_size=16, seed=seed)
            for other in before:
                rows_of(sampler, other)
            return rows_of(sampler, epoch)

        assert rows(1, 2) == rows(1, 2, before=(0, 1, 2))
        assert rows(1, 2) != rows(1, 1)
        assert rows(1, 2) != rows(2, 2)

    def test_processes_work_on_like_sizes_at_the_same_time(self):
        shares = [rows_of(LengthBatchSampler(LENGTHS, batch_size=16, num_replicas=2, rank=rank)) for rank in (0, 1)]
        sizes = np.array([[slots(batch) for batch in share] for share in shares])
        waiting = 1 - sizes.mean() / sizes.max(axis=0).mean()
        assert waiting < 0.05

    def test_known_padding(self):
        assert padding_share([(1, 2), (3, 2), (4, 4)], [[0, 1], [2]]) == pytest.approx(1 - 16 / 18)


class TestOtherLengths:
    @pytest.mark.parametrize("size", SIZES[:3])
    def test_rows_of_one_length_are_sorted_by_it(self, size):
        lengths = LENGTHS[:, :1]
        batches = rows_of(LengthBatchSampler(lengths, **size))
        assert sorted(row for batch in batches for row in batch) == list(range(3000))
        assert padding_share(lengths, batches) < 0.08
        for batch in batches:
            assert "batch_size" in size or len(batch) * lengths[batch].max() <= size["max_tokens"] or len(batch) == 1

    def test_rows_of_equal_length_are_plain_batches_of_any_of_them(self):
        sampler = LengthBatchSampler(np.ones((100, 1), dtype=int), batch_size=8, seed=1)
        first, second = rows_of(sampler, 0), rows_of(sampler, 1)
        assert sorted(len(batch) for batch in first) == [7] * 4 + [8] * 9
        assert sorted(row for batch in first for row in batch) == list(range(100)) != [r for b in first for r in b]
        assert first != second

    @pytest.mark.parametrize("size", [{"batch_size": 32}, {"max_tokens": 32 * 7}], ids=str)
    def test_a_batch_of_rows_of_equal_length_may_have_any_of_them(self, size):
        """Neighbouring rows, such as images sorted by label or parts of one text, do not come together."""
        batches = rows_of(LengthBatchSampler(np.full((1000, 1), 7), **size))
        assert min(max(batch) - min(batch) for batch in batches) > 600

    def test_a_pair_beside_a_constant_is_batched_as_by_its_own_length(self):
        one, two = LENGTHS[:, :1], np.stack([LENGTHS[:, 0], np.zeros(3000, dtype=int)], axis=1)
        assert rows_of(LengthBatchSampler(one, batch_size=16)) == rows_of(LengthBatchSampler(two, batch_size=16))


class TestArguments:
    @pytest.mark.parametrize(("pairs", "batch_size"), [(3, 1), (1, 8)])
    def test_too_few_pairs_for_the_processes(self, pairs, batch_size):
        with pytest.raises(InputError) as error:
            LengthBatchSampler(LENGTHS[:pairs], batch_size=batch_size, num_replicas=2)
        assert str(error.value) == (
            f"{pairs} training rows in batches of one row cannot be divided evenly among 2 processes: "
            "use one process, or larger batches and at least 2 training rows."
        )


class Letters:
    """Stands for BPE dropout: a letter a token, with a few random ones first."""

    def encode(self, text, rng):
        return [rng.randrange(1000, 2000) for _ in range(rng.randrange(1, 4))] + [ord(letter) for letter in text] + [2]


@pytest.fixture
def pairs():
    rows = [
        {"input_ids": [i] * (i + 1), "labels": [100 + i, 2], "source": f"s{i}", "target": f"t{i}"} for i in range(9)
    ]
    return datasets.Dataset.from_list(rows)


def resegmented(pairs, limits=(None, None), seed=0, prefix=""):
    vary = Resegmentation(Letters(), dict(zip((SOURCE, TARGET), limits, strict=True)), prefix)
    return TrainingRows(pairs, vary, seed=seed)


def read(rows, *keys):
    return rows.__getitems__(list(keys))


class TestTrainingRows:
    def test_rows_are_read_by_key(self, pairs):
        data = TrainingRows(pairs.select([5, 3, 4]).select_columns(["input_ids", "labels"]))
        assert len(data) == 3
        assert read(data, (7, 1)) == [{"input_ids": [3, 3, 3, 3], "labels": [103, 2]}]
        assert read(data, (0, 2), (0, 1)) == read(data, (0, 2)) + read(data, (0, 1))

    def test_dropout_segments_the_text_with_its_prefix(self, pairs):
        [row] = read(resegmented(pairs, prefix="p "), (0, 4))
        assert row["input_ids"][-5:] == [ord("p"), ord(" "), ord("s"), ord("4"), 2]
        assert row["labels"][-3:] == [ord("t"), ord("4"), 2]

    def test_dropout_is_drawn_by_seed_epoch_and_row_in_every_process(self, pairs):
        keys = [(0, 1), (1, 1), (1, 0), (11, 0), (1, 8)]
        drawn = [row for seed in (1, 2) for row in read(resegmented(pairs, seed=seed), *keys)]
        assert len({str(pair) for pair in drawn}) == len(drawn)
        assert [drawn[4]] == read(resegmented(pairs, seed=1), (1, 8))
        assert drawn[4]["input_ids"] == [1596, 1965, 115, 56, 2]

    def test_segmentation_past_its_limit_gives_way(self, pairs):
        keys = [(epoch, row) for epoch in range(4) for row in range(9)]
        free = read(resegmented(pairs), *keys)
        capped = read(resegmented(pairs, limits=(5, 4)), *keys)
        gave_way = 0
        for (_, number), free_row, capped_row in zip(keys, free, capped, strict=True):
            for name, limit in (("input_ids", 5), ("labels", 4)):
                fits = len(free_row[name]) <= limit
                gave_way += not fits
                assert capped_row[name] == (free_row[name] if fits else pairs[number][name])
        assert 0 < gave_way < 72


class Bytes:
    """Stands for BPE dropout: each letter is a token or, as often, two; the end token follows."""

    def encode(self, text, rng):
        return [ord(letter) for letter in text for _ in range(rng.randint(1, 2))] + [2]


class TestGrowth:
    """The bound on what BPE dropout may make of a row."""

    @pytest.fixture
    def pairs(self):
        rng = random.Random(0)
        texts = [("s" * rng.randint(1, 60), "t" * rng.randint(1, 60)) for _ in range(400)]
        rows = [
            {"source": s, "target": t, "input_ids": [1] * (len(s) + 1), "labels": [1] * (len(t) + 1)} for s, t in texts
        ]
        return datasets.Dataset.from_list(rows)

    @pytest.fixture
    def vary(self, pairs):
        vary = Resegmentation(Bytes(), {SOURCE: None, TARGET: None})
        vary.measure_growth(pairs, seed=1)
        return vary

    def test_is_measured(self, vary):
        for mean, deviation in vary.growth.values():
            assert mean == pytest.approx(0.5, abs=0.03)
            assert deviation == pytest.approx(0.5, abs=0.05)

    def test_no_segmentation_is_longer_than_its_bound_and_few_give_way(self, pairs, vary):
        lengths = pair_lengths(pairs)
        bounds = np.stack([vary.longest(side, lengths[:, i]) for i, side in enumerate((SOURCE, TARGET))], axis=1)
        data, free = TrainingRows(pairs, vary), TrainingRows(pairs, Resegmentation(Bytes(), vary.limits))
        keys = [(epoch, row) for epoch in range(3) for row in range(400)]
        drawn, unbounded = (
            np.array([(len(row["input_ids"]), len(row["labels"])) for row in rows.__getitems__(keys)])
            for rows in (data, free)
        )
        assert (drawn <= np.tile(bounds, (3, 1))).all()
        assert 0 < (drawn != unbounded).mean() < 0.06
        assert drawn.sum() / lengths.sum() / 3 == pytest.approx(1.5, abs=0.05)

    def test_a_limit_bounds_it_too_and_no_bound_is_below_the_length_without_dropout(self, vary):
        vary.limits = {SOURCE: 40, TARGET: None}
        vary.growth = {SOURCE: Growth(0.5, 0.5), TARGET: Growth(-0.5, 0.0)}
        assert vary.longest(SOURCE, np.array([9, 38])).tolist() == [17, 40]
        assert vary.longest(TARGET, np.array([7, 8])).tolist() == [7, 8]

    def test_depends_on_rows_and_seed_alone(self, pairs, vary):
        again = Resegmentation(Bytes(), {SOURCE: None, TARGET: None})
        again.measure_growth(pairs, seed=1)
        assert again.growth == vary.growth


class TestLoader:
    @pytest.fixture
    def collator(self):
        backend = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
        return DataCollatorForSeq2Seq(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>"))

    @pytest.fixture
    def loader(self, pairs, collator, request):
        sampler = LengthBatchSampler([(i + 1, 2) for i in range(9)], batch_size=2, seed=3)
        return build_training_dataloader(
            resegmented(pairs), sampler, collator, Accelerator(cpu=True), **getattr(request, "param", {})
        )

    def rows(self, batches):
        return [batch["labels"].tolist() for batch in batches]

    def test_batches_are_padded_on_the_right(self, pairs, collator):
        sampler = LengthBatchSampler([(i + 1, 2) for i in range(2)], batch_size=2)
        (batch,) = build_training_dataloader(
            TrainingRows(pairs.select([0, 1]).select_columns(["input_ids", "labels"])),
            sampler,
            collator,
            Accelerator(cpu=True),
        )
        rows = [row for _, row in next(iter(sampler))]
        expected = {
            "input_ids": [[[0, 0], [1, 1]][row] for row in rows],
            "attention_mask": [[[1, 0], [1, 1]][row] for row in rows],
            "labels": [[100 + row, 2] for row in rows],
        }
        assert {name: value.tolist() for name, value in batch.items()} == expected
        assert {value.dtype for value in batch.values()} == {torch.int64}

    @pytest.mark.parametrize("loader", [{}, {"num_workers": 1, "persistent_workers": True}], indirect=True)
    def test_epoch_is_set_through_the_loader_and_a_resumed_epoch_is_its_rest(self, loader):
        epochs = []
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            epochs.append(self.rows(loader))
        assert len(loader) == len(epochs[0]) == 5
        assert epochs[0] != epochs[1]

        resumed = skip_first_batches(loader, 2)
        resumed.batch_sampler.batch_sampler.set_epoch(1)  # what the Trainer does
        assert self.rows(resumed) == epochs[1][2:]
        loader.set_epoch(0)
        assert self.rows(loader) == epochs[0]

    @pytest.mark.parametrize("loader", [{}, {"num_workers": 1}], indirect=True)
    def test_loading_draws_on_no_global_random_state(self, loader):
        torch.manual_seed(0)
        random.seed(0)
        before = torch.get_rng_state(), random.getstate()
        list(loader)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
