# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Slow and leaving clients, as ASGI messages."""

import asyncio

import pytest

from locant.serving.request_guard import RequestGuard


def run(app, messages, body_seconds=0.1):
    """Run the guarded application on the messages of a client that then stays silent; return what it sent."""
    sent = []
    pending = iter(messages)

    async def receive():
        for message in pending:
            return message
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    async def within_a_limit():
        await asyncio.wait_for(RequestGuard(app, body_seconds)({"type": "http"}, receive, send), 10)

    asyncio.run(within_a_limit())
    return sent


def part(body, more_body=False):
    return {"type": "http.request", "body": body, "more_body": more_body}


LEFT = {"type": "http.disconnect"}


async def echo(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def test_the_application_gets_the_whole_body():
    sent = run(echo, [part(b"a", more_body=True), part(b"", more_body=True), part(b"bc")])
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["body"] == b"abc"


def test_a_body_that_does_not_arrive_in_time_is_408():
    start, body = run(echo, [part(b"a", more_body=True)])
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert body["body"] == b'{"detail":"The body of the request was not complete after 0.1 s."}'


def test_a_client_that_leaves_in_the_body_gets_no_answer():
    assert run(echo, [part(b"a", more_body=True), LEFT]) == []


def test_the_application_is_cancelled_when_its_client_disconnects():
    ends = []

    async def wait(scope, receive, send):
        try:
            await asyncio.sleep(1)
            ends.append("finished")
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    assert run(wait, [part(b"a"), LEFT]) == []
    assert ends == ["cancelled"]


def test_an_error_of_the_application_is_raised():
    async def fail(scope, receive, send):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run(fail, [part(b"a")])
