# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The FastAPI application of `locant serve`: endpoints, error responses, and the page of the OpenAPI description."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from locant.training.errors import InputError

from .batching import Batcher, QueueFullError
from .metrics import Metrics, RequestMetrics
from .request_guard import RequestGuard
from .schemas import (
    Alternative,
    Classification,
    ClassificationAnswer,
    Health,
    LabelScore,
    Limits,
    Problem,
    TextTranslation,
    TranslationAnswer,
    request_models,
)
from .served_models import ClassifiedText, ServedClassifier, ServedTranslator, TranslatedText

_ENDPOINTS = ("/translate", "/classify", "/health", "/metrics")
_MOST_FAULTS = 10  # the largest number of faults that the answer to an invalid body lists
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    408: {"model": Problem, "description": "The body did not arrive in time."},
    413: {"description": "The body has too many bytes."},
    422: {"model": Problem, "description": "The body is not valid, or a value or a text is above its limit."},
    503: {"model": Problem, "description": "The queue is full; the header Retry-After says when to try again."},
}


def create_app(
    served: ServedTranslator | ServedClassifier,
    name: str,
    engine: str = "torch",
    batch_size: int = 32,
    limits: Limits | None = None,
) -> FastAPI:
    """Create the application that serves a model.

    The application has POST /translate for a translator or POST /classify for a classifier, GET /health, GET /metrics,
    GET /openapi.json, and the page GET /docs, which loads nothing from other hosts.

    Args:
        served: the model, a translator or a text classifier.
        name: the name of the model that /health returns.
        engine: the engine that /health returns, `torch` or `ctranslate2`.
        batch_size: the largest number of texts in a batch.
        limits: the limits of the requests and of the queue; by default `Limits()`.
    """
    limits = limits or Limits()
    metrics = Metrics()
    batcher = Batcher(served.compute, batch_size, limits.waiting_texts, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batches = asyncio.create_task(batcher.run())
        yield
        batches.cancel()
        with suppress(asyncio.CancelledError):
            await batches

    app = FastAPIOffline(
        title="locant serve",
        description=f"Model: `{name}`. Task: {served.task}. Texts of concurrent requests are computed in batches.",
        version=version("locant"),
        redoc_url=None,
        lifespan=lifespan,
        swagger_ui_parameters={"validatorUrl": None, "defaultModelsExpandDepth": 0, "tryItOutEnabled": True},
    )
    # the middleware that is added last is outermost: RequestMetrics also counts requests that the other two refuse
    app.add_middleware(RequestGuard, body_seconds=limits.read_seconds)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=limits.body_bytes)
    app.add_middleware(RequestMetrics, metrics=metrics, endpoints=_ENDPOINTS)
    app.add_exception_handler(QueueFullError, _busy)
    app.add_exception_handler(InputError, _unusable)
    app.add_exception_handler(RequestValidationError, _invalid)
    _add_task(app, served, batcher, metrics, limits)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        """Redirect to /docs, the page that describes the requests."""
        return RedirectResponse("/docs")

    @app.get("/health", summary="State of the server", tags=["server"])
    async def health() -> Health:
        """The state of the server, always `ok`: connections are accepted only after the model has computed a text."""
        return Health(status="ok", model=name, task=served.task, engine=engine)

    @app.get("/metrics", summary="Metrics for Prometheus", tags=["server"], response_class=Response)
    async def prometheus() -> Response:
        """The metrics in the format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _add_task(
    app: FastAPI, served: ServedTranslator | ServedClassifier, batcher: Batcher, metrics: Metrics, limits: Limits
) -> None:
    """Add the endpoint of the model's task to `app`: POST /translate or POST /classify."""
    translation_request, classification_request = request_models(limits)

    async def results(request: Any) -> list[Any]:
        texts = [request.text] if isinstance(request.text, str) else request.text
        found = await batcher.submit(texts, request.model_dump(exclude={"text"}, exclude_none=True))
        metrics.tokens.inc(sum(result.source_tokens for result in found))
        return found

    if isinstance(served, ServedClassifier):

        @app.post("/classify", summary="Classify texts", tags=["model"], responses=_PROBLEMS)
        async def classify(request: classification_request) -> ClassificationAnswer:  # type: ignore[valid-type]
            """The probability of each label of each text, highest first, or, for regression, the predicted number."""
            return ClassificationAnswer(classifications=[_classification(one) for one in await results(request)])

    else:

        @app.post("/translate", summary="Translate texts", tags=["model"], responses=_PROBLEMS)
        async def translate(request: translation_request) -> TranslationAnswer:  # type: ignore[valid-type]
            """The best translation of each text, and further translations if `num_return_sequences` is above 1."""
            return TranslationAnswer(translations=[_translation(one) for one in await results(request)])


def _translation(found: TranslatedText) -> TextTranslation:
    best, *others = [Alternative(text=one.text, score=one.score) for one in found.translations]
    return TextTranslation(text=best.text, score=best.score, alternatives=others)


def _classification(found: ClassifiedText) -> Classification:
    scores = [LabelScore(label=label, score=score) for label, score in found.scores]
    return Classification(label=scores[0].label if scores else None, scores=scores, truncated=found.is_cut)


def _busy(_: Request, error: Any) -> Response:
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(error.retry_after)})


def _unusable(_: Request, error: Any) -> Response:
    return JSONResponse({"detail": str(error)}, 422)


def _invalid(_: Request, error: Any) -> Response:
    """Answer a request with an invalid body: return status 422 and the first `_MOST_FAULTS` faults of the body.

    The answer leaves out the invalid values, which may be long or invalid Unicode.
    """
    faults = [{key: fault[key] for key in ("type", "loc", "msg")} for fault in error.errors()[:_MOST_FAULTS]]
    return JSONResponse({"detail": jsonable_encoder(faults)}, 422)
