# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compare the throughput of `locant serve` with `locant translate`, and measure the latencies of the server.

    python benchmarks/serving.py RUN --source FILE [--sentences N] [--rounds N] [--engine ctranslate2]

starts the server as a process on loopback, and prints a table with a row for each number of clients and each number of
sentences in a request. A client sends its next request when it has the answer to the last one, and compares each answer
with the output of `locant translate`. In each round, the same sentences are also translated in this process by the
function that `locant translate` calls: with its batches of 32 sentences, and with batches of as many sentences as the
clients of the row have sent at a time, if these are fewer. The ratio of processor time is the processor time of the
function, with batches of 32 sentences, divided by that of the server: on a machine that other processes use too, it
varies less than the ratio of sentences/s. A ratio is the median of the rounds. Loading the model is not timed. Rows in
which few sentences are sent at a time have fewer sentences.
"""

import argparse
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from statistics import median, quantiles
from tempfile import TemporaryFile

import torch

from locant.commands.engines import add_engine_options, load_in_engine
from locant.commands.model_options import add_model_options
from locant.training.data.tables import read_lines
from locant.training.inference import translate_stream

CLIENTS, LIST_SIZES = (1, 8, 32), (16, 1)
BATCH_SIZE = 32  # the default of `locant translate` and `locant serve`
HEADER = """\
| clients | sentences in a request | sentences/s | ratio | same batches | processor time | p50, ms | p95, ms | p99, ms |
| --: | --: | --: | --: | --: | --: | --: | --: | --: |"""


@dataclass
class Row:
    """The figures of all rounds of one row: sentences/s, three ratios, and the seconds of each request."""

    clients: int
    size: int
    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    ratios_same_batches: list[float] = field(default_factory=list)
    ratios_processor: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def sent_at_a_time(self) -> int:
        """The number of sentences that the clients have sent at a time, at most a batch."""
        return min(BATCH_SIZE, self.clients * self.size)

    def __str__(self) -> str:
        cuts = quantiles(self.seconds, n=100, method="inclusive")
        ratios = (self.ratios, self.ratios_same_batches, self.ratios_processor)
        figures = [f"{median(self.rates):.0f}", *(f"{median(values):.2f}" for values in ratios)]
        times = [f"{1000 * cuts[percent - 1]:.0f}" for percent in (50, 95, 99)]
        return f"| {' | '.join((str(self.clients), str(self.size), *figures, *times))} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The load test of locant serve.")
    add_model_options(parser)
    add_engine_options(parser)
    parser.add_argument("--source", required=True, metavar="FILE", help="sentences; repeated ones count once")
    parser.add_argument("--sentences", type=int, default=1024, metavar="N", help="number of sentences (1024)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="number of rounds (3)")
    parsed = parser.parse_args()
    sentences = list(dict.fromkeys(read_lines(parsed.source)))[: parsed.sentences]
    arguments = [parsed.model, *(("--engine", parsed.engine) if parsed.engine else ())]
    expected = dict(zip(sentences, _translated_by_command(arguments, sentences), strict=True))
    rows = [Row(*pair) for pair in product(CLIENTS, LIST_SIZES)]
    with load_in_engine(parsed) as loaded, _server(arguments) as port:
        _rate(loaded, sentences[:BATCH_SIZE], BATCH_SIZE)
        for _, row in product(range(parsed.rounds), rows):
            chosen = sentences[: max(2 * BATCH_SIZE, len(sentences) * row.sent_at_a_time // BATCH_SIZE)]
            before = time.process_time()
            reference = _rate(loaded, chosen, BATCH_SIZE)
            reference_processor = time.process_time() - before
            before = _processor_seconds(port)
            rate, seconds = _load(port, row, {sentence: expected[sentence] for sentence in chosen})
            row.ratios_processor.append(reference_processor / (_processor_seconds(port) - before))
            same = reference if row.sent_at_a_time == BATCH_SIZE else _rate(loaded, chosen, row.sent_at_a_time)
            row.rates.append(rate)
            row.ratios.append(rate / reference)
            row.ratios_same_batches.append(rate / same)
            row.seconds += seconds
    print(f"{len(sentences)} sentences, {torch.get_num_threads()} thread(s), {parsed.rounds} round(s).\n\n{HEADER}")
    print(*rows, sep="\n")


def _translated_by_command(arguments: Sequence[str], sentences: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "locant", "translate", *arguments, "--no_progress"]
    text = "".join(f"{sentence}\n" for sentence in sentences)
    output = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout
    return output.splitlines()


def _rate(loaded: tuple, sentences: Sequence[str], batch_size: int) -> float:
    """Sentences per second of the function that `locant translate` calls."""
    model, tokenizer, options = loaded
    options = {**options, "batch_size": batch_size, "show_progress": False}
    start = time.perf_counter()
    found = list(translate_stream(model, tokenizer, sentences, with_scores=False, **options))
    return len(found) / (time.perf_counter() - start)


@contextmanager
def _server(arguments: Sequence[str]) -> Iterator[int]:
    """Run `locant serve` on a free port, and yield the port."""
    command = [sys.executable, "-m", "locant", "serve", *arguments, "--port", "0"]
    with TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            while "Ready at" not in (said := _content(log)):
                if process.poll() is not None:
                    raise RuntimeError(f"The server did not start: {said}")
                time.sleep(0.1)
            yield int(said.partition("127.0.0.1:")[2].partition(";")[0])
        finally:
            process.terminate()


def _content(log) -> str:
    log.seek(0)
    return log.read()


def _processor_seconds(port: int) -> float:
    """The processor time of the server until now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return float(page.partition("\nprocess_cpu_seconds_total ")[2].split()[0])


def _load(port: int, row: Row, expected: dict[str, str]) -> tuple[float, list[float]]:
    """Translate the sentences with the clients of a row.

    Returns:
        Sentences per second, and the seconds of each request.
    """
    sentences = list(expected)
    requests = [sentences[start : start + row.size] for start in range(0, len(sentences), row.size)]
    shares = [requests[number :: row.clients] for number in range(row.clients)]
    start = time.perf_counter()
    with ThreadPoolExecutor(row.clients) as threads:
        seconds = list(threads.map(lambda share: _client(port, share, expected), shares))
    return len(sentences) / (time.perf_counter() - start), [one for of_client in seconds for one in of_client]


def _client(port: int, requests: Sequence[list[str]], expected: dict[str, str]) -> list[float]:
    """Send requests one after the other over one connection, check the answers, and return the seconds of each."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    seconds = []
    for sentences in requests:
        start = time.perf_counter()
        connection.request("POST", "/translate", json.dumps({"text": sentences}), {"content-type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        seconds.append(time.perf_counter() - start)
        if response.status != 200:
            raise RuntimeError(f"Status {response.status}: {answer}")
        found = [translation["text"] for translation in answer["translations"]]
        if found != [expected[sentence] for sentence in sentences]:
            raise RuntimeError(f"{sentences} was answered with {found}.")
    connection.close()
    return seconds


if __name__ == "__main__":
    main()
