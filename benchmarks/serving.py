# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compare the throughput of `locant serve` with `locant translate`, and measure the latencies of the server.

    python benchmarks/serving.py RUN --source FILE [--sentences N] [--rounds N] [--engine ctranslate2]

starts the server as a process on loopback, and prints a table with a row for each number of clients and each number of
sentences in a request. A client sends its next request when it has the answer to the last one. In a round, each row
sends the same sentences, and in between they are translated in this process with the function that `locant translate`
calls, so that a busy machine slows down both. The ratio is the median over the rounds. Loading the model is not timed.
Each answer is compared with the output of `locant translate`.
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
from itertools import product
from statistics import median, quantiles
from tempfile import TemporaryFile

import torch

from locant.commands.engines import add_engine_options, load_in_engine
from locant.commands.model_options import add_model_options
from locant.training.data.text_data import read_lines
from locant.training.inference import translate_stream

CLIENTS, LIST_SIZES = (1, 8, 32), (16, 1)
HEADER = """| clients | sentences in a request | sentences/s | ratio | p50, ms | p95, ms | p99, ms |
| --: | --: | --: | --: | --: | --: | --: |"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The load test of locant serve.")
    add_model_options(parser)
    add_engine_options(parser)
    parser.add_argument(
        "--source", required=True, metavar="FILE", help="sentences to translate; repeated ones count once"
    )
    parser.add_argument("--sentences", type=int, default=1024, metavar="N", help="number of sentences (1024)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="number of rounds (3)")
    parsed = parser.parse_args()
    sentences = list(dict.fromkeys(read_lines(parsed.source)))[: parsed.sentences]
    arguments = [parsed.model, *(("--engine", parsed.engine) if parsed.engine else ())]
    expected = dict(zip(sentences, _translated_by_command(arguments, sentences), strict=True))
    rows = list(product(CLIENTS, LIST_SIZES))
    rates: dict[tuple[int, int], list[float]] = {row: [] for row in rows}
    ratios: dict[tuple[int, int], list[float]] = {row: [] for row in rows}
    latencies: dict[tuple[int, int], list[float]] = {row: [] for row in rows}
    with load_in_engine(parsed) as loaded, _server(arguments) as port:
        _reference_rate(loaded, sentences[:64])
        for _ in range(parsed.rounds):
            for row in rows:
                reference = _reference_rate(loaded, sentences)
                rate, seconds = _load(port, *row, expected)
                rates[row].append(rate)
                ratios[row].append(rate / reference)
                latencies[row] += seconds
    print(f"{len(sentences)} sentences, {torch.get_num_threads()} thread(s), {parsed.rounds} rounds.\n\n{HEADER}")
    for row in rows:
        cuts = quantiles(latencies[row], n=100, method="inclusive")
        times = (f"{1000 * cuts[percent - 1]:.0f}" for percent in (50, 95, 99))
        print("|", " | ".join((*map(str, row), f"{median(rates[row]):.0f}", f"{median(ratios[row]):.2f}", *times)), "|")


def _translated_by_command(arguments: Sequence[str], sentences: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "locant", "translate", *arguments, "--no_progress"]
    text = "".join(f"{sentence}\n" for sentence in sentences)
    output = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout
    return output.splitlines()


def _reference_rate(loaded: tuple, sentences: Sequence[str]) -> float:
    """Sentences per second of the function that `locant translate` calls, with its defaults."""
    model, tokenizer, options = loaded
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


def _load(port: int, clients: int, size: int, expected: dict[str, str]) -> tuple[float, list[float]]:
    """Translate the sentences with several clients at a time.

    Returns:
        Sentences per second, and the seconds of each request.
    """
    sentences = list(expected)
    requests = [sentences[start : start + size] for start in range(0, len(sentences), size)]
    shares = [requests[number::clients] for number in range(clients)]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
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
