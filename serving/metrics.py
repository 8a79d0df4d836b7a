# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The metrics of the server, in the format of Prometheus, and the middleware that counts and times the requests."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
DISCONNECTED = "disconnected"
"""The `status` of a request whose client disconnected before the answer."""


class Metrics:
    """The metrics of one server, in a registry that holds no other metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "locant_requests",
            "Requests by endpoint and status of the answer.",
            ("endpoint", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "locant_request_duration_seconds",
            "Seconds from the headers of a request to the end of its answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.waiting_texts = Gauge(
            "locant_waiting_texts", "Texts in the queue, without the batch that is computed.", registry=self.registry
        )
        self.batch_texts = Histogram(
            "locant_batch_texts",
            "Texts in a batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "locant_batch_duration_seconds",
            "Seconds in which a batch was computed.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter("locant_source_tokens", "Tokens of the texts that were answered.", registry=self.registry)


class RequestMetrics:
    """ASGI middleware that counts and times the requests.

    Args:
        app: the application.
        metrics: the metrics that are updated.
        endpoints: the paths whose requests are counted separately. Requests to other paths are counted together as
            `other`, so that clients cannot create new time series.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: tuple[str, ...]):
        self._app = app
        self._metrics = metrics
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; for an HTTP request, also record the response's status and the request's duration."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = DISCONNECTED
        start = time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except BaseException:
            # if the application raises an error, an outer middleware sends the answer with status 500; if the client
            # disconnects, the application raises no error
            status = "500" if status == DISCONNECTED else status
            raise
        finally:
            endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
            self._metrics.requests.labels(endpoint, status).inc()
            self._metrics.request_seconds.labels(endpoint).observe(time.perf_counter() - start)
