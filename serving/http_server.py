# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Runs the application in uvicorn: the socket, idle connections, and the stop on a signal."""

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from locant.training.errors import InputError

_MOST_CONNECTIONS = 1000


class _Protocol(H11Protocol):
    """A connection that is closed if the headers of a request do not arrive completely in time.

    The headers of the first request must arrive within `timeout_keep_alive` seconds after the connection was made. If
    the headers of a later request stay incomplete, the connection is closed at most 2 * `timeout_keep_alive` seconds
    after the last answer. uvicorn itself closes a connection only if no data arrive for `timeout_keep_alive` seconds
    after an answer: uvicorn waits without end for the first request, and for the rest of incomplete headers.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(self.timeout_keep_alive, self._close_if_idle, (None, True))

    def _close_if_idle(self, before: tuple[object, bool]) -> None:
        """Close the connection if it was idle for the whole interval: with the last request and its answer of `before`.

        Args:
            before: the last request at the beginning of the interval, and whether it was answered.
        """
        if self.transport.is_closing():
            return
        now = (self.cycle, self.cycle is None or self.cycle.response_complete)
        if now == before and now[1]:
            self.transport.close()
        else:
            self.loop.call_later(self.timeout_keep_alive, self._close_if_idle, now)


class _Server(uvicorn.Server):
    """A server that calls `on_ready` with its address as soon as it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None]):
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            self._on_ready(_address(listener))


def bind(host: str, port: int) -> socket.socket:
    """Bind a port, on which connections are refused until `serve` runs.

    Args:
        host: name or address of the interface.
        port: 0 for any free port.

    Raises:
        InputError: the address does not exist, or the port is in use.
    """
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Port {port} of {host} cannot be used ({reason}): give another --port or --host.") from error
    return listener


def serve(
    app: FastAPI,
    listener: socket.socket,
    idle_seconds: int,
    stop_seconds: int,
    on_ready: Callable[[str], None],
    log_level: str = "warning",
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Then no connections are accepted any more, and the requests that were received are answered.

    Args:
        app: the application.
        listener: the socket that `bind` returned.
        idle_seconds: seconds after which a connection without a request is closed.
        stop_seconds: seconds after which requests that are still not answered get status 500.
        on_ready: is called with the address of the server as soon as it accepts connections.
        log_level: the lowest level of the messages of uvicorn that are printed.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        log_level=log_level,
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=idle_seconds,
        timeout_graceful_shutdown=stop_seconds,
    )
    server = _Server(config, on_ready)

    # uvicorn sends itself the signal again after it stopped, which would end the process with the status of the signal
    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    server.run([listener])


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
