# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Requests and answers: what stands between the sockets and the routes."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .hub import Hub, Request, User
from .repository import HubError


@dataclass
class Call:
    """What a route gets: the parts of the path by name (unquoted), the query, the body, who asks."""

    method: str
    parts: dict[str, str]
    query: dict[str, list[str]]
    headers: Any
    body: bytes
    user: User | None

    def asks(self, name: str) -> bool:
        """Whether the query switches `name` on."""
        return self.query.get(name, ["false"])[0].lower() in ("1", "true")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What a route gives back."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    break_after: int | None = None

    @classmethod
    def of(cls, value: Any, status: int = 200, **headers: str) -> "Answer":
        return cls(json.dumps(value).encode(), status, {"Content-Type": "application/json", **headers})


Route = tuple[str, re.Pattern, Callable[[Call], Answer]]


class Handler(BaseHTTPRequestHandler):
    """Reads a request, finds its route, logs it, and answers.

    Args:
        hub: gives the Hub of the moment.
        routes: the first that fits answers.
    """

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Callable[[], Hub], routes: list[Route], *args: Any):
        self._hub, self._routes = hub, routes
        super().__init__(*args)

    def do_GET(self) -> None:
        hub, url = self._hub(), urlsplit(self.path)
        user, body = None, self._read_body()
        with hub.lock:
            try:
                user = self._user(hub)
                answer = self._find(url.path)(
                    Call(self.command, self._parts, parse_qs(url.query), self.headers, body, user)
                )
            except HubError as error:
                code = {"X-Error-Code": error.code} if error.code else {}
                headers = {"X-Error-Message": error.message.splitlines()[0], **code, **error.headers}
                answer = Answer.of({"error": error.message}, error.status, **headers)
            name = user.name if user else None
            span = self.headers.get("Range")
            hub.requests.append(Request(self.command, self.headers["Host"], url.path, name, span, answer.status))
        self._send(answer)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _user(self, hub: Hub) -> User | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if token not in hub.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return hub.users[token]

    def _find(self, path: str) -> Callable[[Call], Answer]:
        for method, pattern, route in self._routes:
            if self.command in method.split("|") and (found := pattern.fullmatch(path)):
                self._parts = {name: unquote(text) for name, text in found.groupdict().items() if text is not None}
                return route
        raise HubError(404, f"Sorry, {self.command} {path} is not there")

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(answer.body[: answer.break_after])
        if answer.break_after is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to standard error: `Hub.requests` is the log."""


def route(method: str, path: str, answer: Callable[[Call], Answer]) -> Route:
    """Who answers what: `path` with `{names}` of its parts, one segment each."""
    parts = {"repo_id": "[^/]+/[^/]+", "path": ".+"}
    pattern = re.sub(r"\{(\w+)\}", lambda found: f"(?P<{found[1]}>{parts.get(found[1], '[^/]+')})", path)
    return method, re.compile(pattern), answer


def part_of(data: bytes, call: Call, headers: dict[str, str]) -> Answer:
    """All of `data`, or the bytes that the header `Range` asks for."""
    headers = headers | {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("Range") or "")
    if call.method == "HEAD":  # its length is that of the whole
        return Answer(b"", 200, headers | {"Content-Length": str(len(data))})
    if not found:
        return Answer(data, 200, headers)
    start, stop = int(found[1]), int(found[2] or len(data) - 1) + 1
    if start >= len(data):
        raise HubError(416, "Range not satisfiable", **{"Content-Range": f"bytes */{len(data)}"})
    part = data[start:stop]
    return Answer(part, 206, headers | {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"})
