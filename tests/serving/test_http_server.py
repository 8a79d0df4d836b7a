# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant serve` as a process: clients that hang, send too much or leave, and the stop."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI

from locant.serving.http_server import bind, serve
from locant.training.errors import InputError
from locant.training.inference import load, translate

pytestmark = pytest.mark.end_to_end

READ_SECONDS = 3
SLOW = {"num_beams": 4, "max_new_tokens": 160}


@contextmanager
def running(folder, tmp_path, *arguments):
    """A server process and its address."""
    command = [sys.executable, "-m", "locant", "serve", folder, "--device", "cpu", "--port", "0", *arguments]
    log = tmp_path / "log"
    with open(log, "w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while not (ready := re.search(r"Ready at (\S+);", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield process, ready[1]
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(translator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with running(translator, folder, "--max_read_seconds", str(READ_SECONDS)) as (_, address):
        yield address


@pytest.fixture(scope="module")
def expected(translator, texts):
    found = translate(*load(translator, "cpu"), texts[:20], show_progress=False)
    return {text: best.text for text, (best, *_) in zip(texts, found, strict=False)}


@pytest.fixture
def undisturbed(server, expected):
    """Check that other clients get their answers."""

    def check():
        with httpx.Client(base_url=server, timeout=60) as client, ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda text: client.post("/translate", json={"text": text}).json(), expected))
        assert [answer["translations"][0]["text"] for answer in answers] == list(expected.values())

    return check


def connect(address, content=b""):
    host, port = address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(content)
    return connection


def post(body, length=None):
    head = ["POST /translate HTTP/1.1", "Host: a", "Content-Type: application/json"]
    head.append(f"Content-Length: {length or len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def metric(address, name, labels=""):
    """The value of a metric of the server."""
    page = httpx.get(f"{address}/metrics", timeout=60).text
    found = re.search(rf"^{re.escape(name + labels)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def answered(address, status):
    """The number of requests for translations with this status."""
    return metric(address, "locant_requests_total", f'{{endpoint="/translate",status="{status}"}}')


def test_clients_that_hang_are_closed_and_nobody_waits_for_them(server, undisturbed):
    silent = connect(server)
    in_headers = connect(server, b"POST /translate HTTP/1.1\r\nHost:")
    in_body = connect(server, post(b'{"text": "a', length=100))
    reads_nothing = connect(server, post(b'{"text": "a"}') * 20)
    undisturbed()
    for connection in (silent, in_headers):
        assert connection.recv(100) == b""
    assert in_body.recv(100).startswith(b"HTTP/1.1 408 ")
    undisturbed()
    reads_nothing.close()


def test_clients_that_leave_their_answers_unread_are_closed(server, undisturbed, texts):
    """The answers are larger than the buffers of the system, so the server cannot hand them over."""
    connection = connect(server, b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(5 * READ_SECONDS)
    script = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.sendall(script * 20)
    undisturbed()
    time.sleep(3 * READ_SECONDS)
    with pytest.raises(OSError):
        for _ in range(100):
            connection.sendall(script)
            time.sleep(0.1)


def test_a_second_sigterm_ends_a_server_that_still_answers(translator, tmp_path, texts):
    with running(translator, tmp_path, "--stop_seconds", "300") as (process, address):
        long = {"text": texts * 4, "num_beams": 8, "max_new_tokens": 512}
        with ThreadPoolExecutor(1) as threads:
            request = threads.submit(httpx.post, f"{address}/translate", json=long, timeout=300)
            while metric(address, "locant_waiting_texts") == 0:
                assert not request.done()
            for _ in range(2):
                process.send_signal(signal.SIGTERM)
                time.sleep(1)
            assert process.wait(10) == -signal.SIGTERM
            assert isinstance(request.exception(), httpx.HTTPError)


@pytest.mark.slow
def test_a_batch_does_not_outlive_the_seconds_for_the_stop(translator, tmp_path, texts):
    with running(translator, tmp_path, "--stop_seconds", "1", "--batch_size", "256") as (process, address):
        long = {"text": texts * 4, "num_beams": 8, "max_new_tokens": 512, "scores": True}
        with ThreadPoolExecutor(1) as threads:
            request = threads.submit(httpx.post, f"{address}/translate", json=long, timeout=300)
            time.sleep(2)
            assert not request.done()
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
            assert request.exception() is not None or request.result().status_code == 500


@pytest.mark.slow
def test_clients_that_drip_headers_are_closed(server):
    connection = connect(server, b"GET /health HTTP/1.1\r\n")
    start = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() < start + 20 * READ_SECONDS:
            connection.sendall(b"X: y\r\n")
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
def test_10_megabytes_are_refused_without_being_kept(server, undisturbed, chunked):
    before = metric(server, "process_resident_memory_bytes")
    body = b'{"text": "' + b"a" * 10_000_000 + b'"}'
    content = (body[start : start + 65536] for start in range(0, len(body), 65536)) if chunked else body
    with ThreadPoolExecutor(1) as thread:
        kind = {"content-type": "application/json"}
        answer = thread.submit(httpx.post, f"{server}/translate", content=content, headers=kind, timeout=60)
        undisturbed()
        assert answer.result().status_code == 413
    assert metric(server, "process_resident_memory_bytes") < before + 8e6


@pytest.mark.slow
def test_clients_that_disconnect_are_not_computed(server, undisturbed, expected, texts):
    """The first request occupies the thread, so that the others are still in the queue when their clients leave."""
    before, computed = answered(server, "disconnected"), metric(server, "locant_batch_texts_sum")
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(httpx.post, f"{server}/translate", json={"text": texts[:40], **SLOW}, timeout=300)
        while metric(server, "locant_waiting_texts") != 8:  # the other texts are in the batch
            assert not slow.done()
        for _ in range(10):
            connect(server, post(b'{"text": ["a", "b"], "num_beams": 7}')).close()
        undisturbed()
        assert slow.result().status_code == 200
    assert answered(server, "disconnected") == before + 10
    assert metric(server, "locant_batch_texts_sum") == computed + 40 + len(expected)
    assert answered(server, "500") == 0


def test_sigterm_answers_what_was_received_and_exits_0(translator, tmp_path, texts):
    with running(translator, tmp_path, "--stop_seconds", "300") as (process, address):
        host, port = address.removeprefix("http://").split(":")
        with ThreadPoolExecutor(4) as threads:
            requests = [
                threads.submit(httpx.post, f"{address}/translate", json={"text": texts[n::3], **SLOW}, timeout=300)
                for n in range(3)
            ]
            while metric(address, "locant_waiting_texts") < 20:  # besides those in the batch
                assert not requests[-1].done()
            process.send_signal(signal.SIGTERM)
            answers = [request.result() for request in requests]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert sum(len(answer.json()["translations"]) for answer in answers) == len(texts)
        assert process.wait(60) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))


def test_answers_are_sent_without_delay():
    """asyncio switches Nagle's algorithm off only for a socket whose protocol is TCP."""
    listener = bind("127.0.0.1", 0)
    assert listener.proto == socket.IPPROTO_TCP
    listener.close()


def test_a_port_that_another_server_took_after_bind_is_refused_in_a_sentence():
    first = bind("127.0.0.1", 0)
    second = bind("127.0.0.1", first.getsockname()[1])
    first.listen()
    with pytest.raises(InputError, match=r"cannot be used .*: give another --port"):
        serve(FastAPI(), second, 1, 1, lambda address: None)
    first.close()
    second.close()


@pytest.mark.slow
def test_a_second_server_on_the_port_is_refused_before_its_model_is_loaded(server, tmp_path, capsys):
    from locant.cli import main

    port = server.rpartition(":")[2]
    (tmp_path / "config.json").write_text("{}")
    assert main(["serve", str(tmp_path), "--port", port]) == 2
    assert f"Port {port} of 127.0.0.1 cannot be used (Address already in use)" in capsys.readouterr().err


def test_a_host_with_an_empty_label_is_refused():
    with pytest.raises(InputError, match=r"of example\.\.com cannot be used"):
        bind("example..com", 0)
