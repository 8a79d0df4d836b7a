# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A queue of the texts of many requests; one thread computes batches of texts of similar length."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .metrics import Metrics

Compute = Callable[[Sequence[str], dict[str, Any]], Sequence[Any]]
_LONGEST_RETRY = 60  # the largest `retry_after`, in seconds
_PAUSE = 0.01  # the next batch begins if no request arrives within this time, in seconds
_LONGEST_PAUSE = 0.1  # the pause between two batches ends after about this share of the time of the last batch
_THREAD_NAME = "locant-batches"


def is_computing() -> bool:
    """Return whether a thread that computes batches is still running."""
    return any(thread.name.startswith(_THREAD_NAME) for thread in threading.enumerate())


class QueueFullError(Exception):
    """The queue has no room for the texts of a request.

    Args:
        retry_after: the estimated number of seconds, from 1 to 60, until the texts in the queue are computed.
    """

    def __init__(self, retry_after: int):
        super().__init__(f"The server is busy: try again in {retry_after} s.")
        self.retry_after = retry_after


@dataclass(eq=False)
class _Item:
    """A text in the queue; the future `result` receives the result of the text, or the error."""

    text: str
    options: dict[str, Any]
    result: asyncio.Future


class Batcher:
    """Computes the texts of concurrent requests in shared batches.

    The public methods are called in one event loop. Only this event loop changes the queue, so no locks are needed.
    `compute` is called in another thread. While this thread computes a batch, the texts of the next batch arrive. The
    next batch begins at once, or after a short pause in which clients can send further texts.

    Args:
        compute: takes texts, and options that apply to all of them, and returns a result for each text. A result that
            is an exception is raised in the request of its text. If `compute` itself raises an exception for several
            texts, it is called again for each text alone, so that only texts that cannot be computed fail.
        batch_size: the largest number of texts in a batch.
        max_waiting: the largest number of texts in the queue.
        metrics: the metrics that record the length of the queue, and the number of texts and the seconds of each batch.
    """

    def __init__(self, compute: Compute, batch_size: int, max_waiting: int, metrics: Metrics):
        self._compute = compute
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._waiting: list[_Item] = []  # oldest first
        self._arrived = asyncio.Event()
        self._batch_seconds = 0.0  # the seconds of the last batch
        self._seconds_per_text = 0.0  # the mean in the last batch
        metrics.waiting_texts.set_function(lambda: len(self._waiting))

    async def submit(self, texts: Sequence[str], options: dict[str, Any]) -> list[Any]:
        """Return the result of each text, once all texts are computed.

        If the caller is cancelled, or one of `texts` fails, those of `texts` that are still in the queue are not
        computed.

        Raises:
            QueueFullError: the queue has no room for all `texts`; in this case none of them was added to the queue.
            Exception: the error of the first text that failed.
        """
        if len(self._waiting) + len(texts) > self._max_waiting:
            seconds = math.ceil(self._seconds_per_text * len(self._waiting))
            raise QueueFullError(min(max(1, seconds), _LONGEST_RETRY))
        loop = asyncio.get_running_loop()
        items = [_Item(text, options, loop.create_future()) for text in texts]
        self._waiting += items
        self._arrived.set()
        try:
            return await asyncio.gather(*(item.result for item in items))
        except BaseException:
            for item in items:
                item.result.cancel()
            self._waiting = [item for item in self._waiting if not item.result.done()]
            raise

    async def run(self) -> None:
        """Compute batches until this task is cancelled."""
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix=_THREAD_NAME)
        expected = 0
        try:
            while True:
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                await self._let_clients_return(expected)
                if not self._waiting:  # the clients of all waiting texts disconnected during the pause
                    continue
                batch = self._take()
                texts = [item.text for item in batch]
                results = await loop.run_in_executor(thread, self._timed, texts, batch[0].options)
                for item, result in zip(batch, results, strict=True):
                    _deliver(item, result)
                expected = len(self._waiting) + len(batch)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    async def _let_clients_return(self, expected: int) -> None:
        """Wait until the clients that have just got an answer send their next requests, so that batches are larger.

        Without this pause, these clients would take turns with all other clients, in batches of half the size. The
        pause takes at most about a tenth of the time of the last batch. It ends early if no request arrives in `_PAUSE`
        seconds, or if the queue has `expected` texts or enough texts for a whole batch.

        Args:
            expected: the number of texts in the queue if each answered text is followed by another one.
        """
        end = time.perf_counter() + _LONGEST_PAUSE * self._batch_seconds
        before = 0
        while before < len(self._waiting) < min(expected, self._batch_size) and time.perf_counter() < end:
            before = len(self._waiting)
            await asyncio.sleep(_PAUSE)

    def _take(self) -> list[_Item]:
        """Remove the next batch from the queue, and return it.

        The batch has the text that has waited longest. The other texts of the batch have the same options, and are the
        neighbours of this text when the texts are sorted by their number of characters.
        """
        oldest = self._waiting[0]
        alike = [item for item in self._waiting if item.options == oldest.options]
        alike.sort(key=lambda item: len(item.text))
        start = min(alike.index(oldest) - self._batch_size // 2, len(alike) - self._batch_size)
        batch = alike[max(0, start) :][: self._batch_size]
        taken = set(batch)
        self._waiting = [item for item in self._waiting if item not in taken]
        return batch

    def _timed(self, texts: list[str], options: dict[str, Any]) -> list[Any]:
        start = time.perf_counter()
        results = self._results(texts, options)
        seconds = time.perf_counter() - start
        self._metrics.batch_texts.observe(len(texts))
        self._metrics.batch_seconds.observe(seconds)
        self._seconds_per_text, self._batch_seconds = seconds / len(texts), seconds
        return results

    def _results(self, texts: list[str], options: dict[str, Any]) -> list[Any]:
        """Return the result of each text, or the exception that `compute` raised for the text."""
        try:
            return list(self._compute(texts, options))
        except Exception as error:
            if len(texts) == 1:
                return [error]
            return [result for text in texts for result in self._results([text], options)]


def _deliver(item: _Item, result: Any) -> None:
    if item.result.done():  # the request of the text was cancelled, or failed, while the batch was computed
        return
    if isinstance(result, Exception):
        item.result.set_exception(result)
    else:
        item.result.set_result(result)
