# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The queue: which texts are computed together, and what becomes of those that cannot be or need not be computed."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import pytest

from locant.serving.batching import Batcher, QueueFullError
from locant.serving.metrics import Metrics


class Recorder:
    """Upper-cases texts, after `gate` is opened, and keeps the batches. The text "bad" raises."""

    def __init__(self):
        self.gate = threading.Event()
        self.batches = []

    def compute(self, texts, options):
        self.batches.append((list(texts), options))
        assert self.gate.wait(10)
        if "bad" in texts:
            raise ValueError("bad text")
        return [text.upper() for text in texts]


@asynccontextmanager
async def running(recorder, batch_size=4, max_waiting=100):
    """A batcher that computes the text "first" until the gate is opened."""
    batcher = Batcher(recorder.compute, batch_size, max_waiting, Metrics())
    task = asyncio.create_task(batcher.run())
    first = asyncio.create_task(batcher.submit(["first"], {}))
    while not recorder.batches:
        await asyncio.sleep(0.001)
    yield batcher
    recorder.gate.set()
    await first
    task.cancel()


async def waiting(batcher, *requests):
    """Submit requests, pairs of texts and options; return their tasks once the texts are in the queue."""
    tasks = [asyncio.create_task(batcher.submit(texts, options)) for texts, options in requests]
    await asyncio.sleep(0)
    return tasks


def test_a_batch_has_the_oldest_text_and_those_nearest_in_length():
    recorder = Recorder()

    async def run():
        async with running(recorder) as batcher:
            lists = ["ccc", "a" * 9, "a"], ["bb", "dddd", "eeeee"], ["f" * 8, "g" * 7]
            tasks = await waiting(batcher, *((texts, {}) for texts in lists))
            recorder.gate.set()
            assert await asyncio.gather(*tasks) == [[text.upper() for text in texts] for texts in lists]

    asyncio.run(run())
    assert [texts for texts, _ in recorder.batches] == [
        ["first"],
        ["a", "bb", "ccc", "dddd"],
        ["eeeee", "g" * 7, "f" * 8, "a" * 9],
    ]


def test_requests_share_a_batch_only_if_their_options_are_equal():
    recorder = Recorder()

    async def run():
        async with running(recorder) as batcher:
            tasks = await waiting(batcher, (["a"], {"k": 1}), (["b"], {"k": 2}), (["c"], {"k": 1}), (["d"], {}))
            recorder.gate.set()
            assert await asyncio.gather(*tasks) == [["A"], ["B"], ["C"], ["D"]]

    asyncio.run(run())
    assert recorder.batches[1:] == [(["a", "c"], {"k": 1}), (["b"], {"k": 2}), (["d"], {})]


def test_a_long_text_does_not_wait_for_ever_among_shorter_ones():
    recorder = Recorder()

    async def run():
        async with running(recorder, batch_size=2) as batcher:
            tasks = await waiting(batcher, (["long" * 9], {}), *(([f"{n}"], {}) for n in range(8)))
            recorder.gate.set()
            await asyncio.gather(*tasks)

    asyncio.run(run())
    assert "long" * 9 in recorder.batches[1][0]


def test_a_cancelled_request_is_dropped_before_it_is_computed():
    recorder = Recorder()

    async def run():
        async with running(recorder, max_waiting=2) as batcher:
            gone, kept = await waiting(batcher, (["gone"], {}), (["kept"], {}))
            gone.cancel()
            await asyncio.sleep(0)
            [after] = await waiting(batcher, (["after"], {}))  # there is room again
            recorder.gate.set()
            assert await asyncio.gather(kept, after) == [["KEPT"], ["AFTER"]]

    asyncio.run(run())
    assert recorder.batches[1:] == [(["kept", "after"], {})]


def test_the_queue_goes_on_after_all_clients_disconnected_between_two_batches():
    recorder = Recorder()
    recorder.gate.set()

    async def run():
        batcher = Batcher(lambda *given: time.sleep(0.3) or recorder.compute(*given), 32, 64, Metrics())
        task = asyncio.create_task(batcher.run())
        await batcher.submit(["a", "b"], {})  # after a batch of two texts, the batcher waits for their clients
        [gone] = await waiting(batcher, (["gone"], {}))
        await asyncio.sleep(0.003)
        gone.cancel()
        await asyncio.sleep(0.1)
        assert await asyncio.wait_for(batcher.submit(["after"], {}), 5) == ["AFTER"]
        task.cancel()

    asyncio.run(run())
    assert [texts for texts, _ in recorder.batches] == [["a", "b"], ["after"]]


def test_a_full_queue_refuses_whole_requests_and_says_when_to_return():
    recorder = Recorder()

    async def run():
        async with running(recorder, max_waiting=3) as batcher:
            [task] = await waiting(batcher, (["a", "b"], {}))
            with pytest.raises(QueueFullError) as caught:
                await batcher.submit(["c", "d"], {})
            assert caught.value.retry_after >= 1
            [last] = await waiting(batcher, (["e"], {}))
            recorder.gate.set()
            assert await asyncio.gather(task, last) == [["A", "B"], ["E"]]

    asyncio.run(run())
    assert not any({"c", "d"} & set(texts) for texts, _ in recorder.batches)


def test_a_text_that_fails_fails_alone():
    recorder = Recorder()

    async def run():
        async with running(recorder) as batcher:
            good, bad, other = await waiting(batcher, (["one", "two"], {}), (["bad", "six"], {}), (["ten"], {}))
            recorder.gate.set()
            assert await good == ["ONE", "TWO"]
            with pytest.raises(ValueError, match="bad text"):
                await bad
            assert await other == ["TEN"]

    asyncio.run(run())
    assert recorder.batches[1][0] == ["one", "two", "bad", "six"]


def test_metrics_have_the_texts_of_each_batch_and_those_that_wait():
    recorder, metrics = Recorder(), Metrics()

    async def run():
        batcher = Batcher(recorder.compute, 2, 100, metrics)
        task = asyncio.create_task(batcher.run())
        requests = await waiting(batcher, (["a", "b", "c"], {}))
        assert metrics.registry.get_sample_value("locant_waiting_texts") == 3
        recorder.gate.set()
        await asyncio.gather(*requests)
        task.cancel()

    asyncio.run(run())
    value = metrics.registry.get_sample_value
    assert (value("locant_batch_texts_count"), value("locant_batch_texts_sum")) == (2, 3)
    assert value("locant_batch_duration_seconds_count") == 2
    assert value("locant_waiting_texts") == 0


def test_clients_that_get_an_answer_share_the_next_batch_with_those_that_wait():
    recorder = Recorder()
    recorder.gate.set()

    def compute(texts, options):
        time.sleep(0.3)
        return recorder.compute(texts, options)

    async def client(batcher, name):
        for _ in range(3):
            await batcher.submit([name], {})
            await asyncio.sleep(0.002 * "abcd".index(name))  # the time in which the client reads the answer

    async def run():
        batcher = Batcher(compute, 8, 100, Metrics())
        task = asyncio.create_task(batcher.run())
        await asyncio.gather(*(client(batcher, name) for name in "abcd"))
        task.cancel()

    asyncio.run(run())
    sizes = [len(texts) for texts, _ in recorder.batches]
    assert sum(sizes) == 12
    assert sizes.count(4) >= 2
