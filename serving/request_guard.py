# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Protects the server from clients that send their request too slowly, or disconnect before the answer."""

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RequestGuard:
    """ASGI middleware that reads the body and then runs the application, which it cancels if the client disconnects.

    A request whose body is not complete in time is answered with status 408, and the connection is closed. The size of
    the body is not checked by this middleware, but by `RequestBodyLimitMiddleware`.

    Args:
        app: the application.
        body_seconds: seconds in which the body must be complete.
    """

    def __init__(self, app: ASGIApp, body_seconds: float):
        self._app = app
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then run the application while watching for a disconnect."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _read(receive)
        except TimeoutError:
            detail = f"The body of the request was not complete after {self._body_seconds:g} s."
            await JSONResponse({"detail": detail}, 408, {"connection": "close"})(scope, receive, send)
            return
        if body is not None:
            await self._answer(body, scope, receive, send)

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = False

        async def receive_again() -> Message:
            nonlocal is_read
            if is_read:
                return await asyncio.shield(disconnect)
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        disconnect = asyncio.ensure_future(receive())  # after the body, `receive` returns only the disconnect
        answer = asyncio.ensure_future(self._app(scope, receive_again, send))
        try:
            await asyncio.wait({answer, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # The server stops, and does not wait for this answer any longer. uvicorn sends status 500 if no answer was
            # sent; if this method raised the CancelledError again, uvicorn would also print a traceback.
            pass
        finally:
            if not answer.done():
                answer.cancel()
                await asyncio.wait({answer})
            disconnect.cancel()
        if not answer.cancelled():
            answer.result()  # raises the error that the application raised, if any


async def _read(receive: Receive) -> bytes | None:
    """Read the whole body of a request; return None if the client disconnects before the end of the body."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
