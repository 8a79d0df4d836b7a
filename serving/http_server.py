# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Runs a FastAPI application in uvicorn: binds the socket, closes idle connections, and stops on a signal."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from locant.training.errors import InputError

_MOST_CONNECTIONS = 1000


class _Protocol(H11Protocol):
    """A connection that is closed if request headers do not arrive in time, or if the client does not read its answer.

    uvicorn itself closes a connection only if no data arrive for `timeout_keep_alive` seconds after an answer. It waits
    without end for the first request, for the rest of incomplete headers, and for a client that does not read its
    answer. This class also closes the connection

    - `timeout_keep_alive` seconds after it was made, if the headers of the first request have not arrived;
    - at most 2 * `timeout_keep_alive` seconds after an answer, if the headers of the next request are incomplete;
    - at most 2 * `timeout_keep_alive` seconds after the client has stopped reading an answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(self.timeout_keep_alive, self._close_if_idle, (None, True, 0))

    def _close_if_idle(self, before: tuple[object, bool, int]) -> None:
        """Close the connection if its state is the same as `timeout_keep_alive` seconds ago; else check again later.

        A connection is not closed while the server computes an answer and the client has read all bytes sent so far.

        Args:
            before: the state `timeout_keep_alive` seconds ago: the last request, whether its answer is complete, and
                the number of bytes of the answer that are not sent yet.
        """
        if self.transport.is_closing():
            return
        unread = self.transport.get_write_buffer_size()
        now = (self.cycle, self.cycle is None or self.cycle.response_complete, unread)
        if now == before and (now[1] or unread):
            self.transport.abort()  # `close` would wait until the client has read the answer
        else:
            self.loop.call_later(self.timeout_keep_alive, self._close_if_idle, now)


class _Server(uvicorn.Server):
    """A server that calls `on_ready` with its address as soon as it accepts connections.

    The first SIGTERM or SIGINT stops the server, and the second ends the process at once.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None]):
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            self._on_ready(_address(listener))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server; if the server is already stopping, end the process."""
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)
        with contextlib.suppress(OSError, RuntimeError):  # a closed pipe, or a signal while another text is printed
            print("Stopping; a second signal ends the server at once.", file=sys.stderr)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a port of `host`; connections to the port are refused until `serve` runs.

    Args:
        host: name or address of the interface.
        port: the number of the port; 0 for any free port.

    Raises:
        InputError: the address does not exist, or the port is in use or not allowed for this user.
    """
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # Nagle's algorithm would delay the body of each answer by 40 ms; asyncio switches the algorithm off only for
        # sockets that are made with IPPROTO_TCP
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a part of the host's name is empty or too long
        raise _unusable(host, port, error) from error
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

    After the signal, no connections are accepted any more, and the requests that were received are answered. A second
    signal ends the process at once.

    Args:
        app: the application.
        listener: the socket that `bind` returned.
        idle_seconds: a connection on which no request arrives is closed after 1 to 2 times this number of seconds.
        stop_seconds: the seconds after the signal in which received requests are still answered; requests without an
            answer after these seconds get status 500.
        on_ready: the function that is called with the address of the server as soon as it accepts connections.
        log_level: the lowest level of the messages of uvicorn that are printed.

    Raises:
        InputError: another process has begun to listen on the port since `bind`.
    """
    try:
        listener.listen()
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _unusable(host, port, error) from error
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

    # when uvicorn has stopped, it sends the signal again; without this handler, the signal would then end the process,
    # and the exit status would not be 0
    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    server.run([listener])


def _unusable(host: str, port: int, error: OSError | UnicodeError) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"Port {port} of {host} cannot be used ({reason}): give another --port or --host.")


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
