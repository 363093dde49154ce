"""The ASGI application: routes, errors in fixed words, the page, and the guard around all of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import qdebias
from qdebias.service.guard import Guard, Keys, error_answer
from qdebias.service.openapi import api_page, describe, failures
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.routes import image_routes, other_routes
from qdebias.service.schema import Health
from qdebias.service.service import Service

_BY_STATUS = {404: Reason.NOT_FOUND, 405: Reason.NOT_ALLOWED}


def create_app(
    service: Service,
    *,
    keys: Keys,
    hosts: frozenset[str] = frozenset(),
    load_first: bool = False,
    on_failure: Callable[[], None] = lambda: None,
) -> Guard:
    """Return the application.

    Args:
        service: What answers.
        keys: Who may ask; none: everybody who reaches the server.
        hosts: Names by which the server may be addressed; none: any.
        load_first: Whether starting takes until the models are loaded, and fails where they cannot be; else /readyz
            tells.
        on_failure: Is called when the models cannot be loaded.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running(on_failure=on_failure):
            if load_first:
                await service.loaded()
            yield

    app = FastAPI(
        title="qdebias",
        version=qdebias.__version__,
        description="Image quality by large multimodal models. A score lies in [0, 1]; higher is better.",
        lifespan=lifespan,
        docs_url=None,  # the usual pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (image_routes(service), other_routes(service), health_routes(service), page_routes()):
        app.include_router(router)
    _add_error_handlers(app)
    description: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not description:
            description.update(describe(app, keys=bool(keys)))
        return description

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(api_page(openapi(), url=str(request.base_url)))

    return Guard(app, keys=keys, hosts=hosts, metrics=service.metrics, deadline=service.settings.deadline)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return error_answer(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, _error: RequestValidationError) -> Response:
        return error_answer(Refusal(Reason.MALFORMED))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        return error_answer(Refusal(_BY_STATUS.get(error.status_code, Reason.MALFORMED), headers=error.headers))


FOLDER = Path(__file__).parent / "page"

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
}
"""By suffix; what the system would guess differs from machine to machine."""


def page_routes() -> APIRouter:
    """Return one route a file, and the page itself at the root."""
    router = APIRouter(include_in_schema=False)
    for path in sorted(FOLDER.iterdir()):
        answer = partial(
            Response, path.read_bytes(), media_type=KINDS[path.suffix], headers={"cache-control": "no-cache"}
        )
        _add(router, "/" if path.name == "index.html" else f"/{path.name}", answer)
    return router


def _add(router: APIRouter, address: str, answer: "partial[Response]") -> None:
    @router.get(address)
    async def file() -> Response:
        return answer()


def health_routes(service: Service) -> APIRouter:
    """Return the routes for whoever watches the server."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the server lives")
    async def healthz() -> Health:
        """Answer as long as the process works; needs no key."""
        return Health(status="ok")

    @router.get("/readyz", summary="Whether the models are loaded", responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        """Answer 200 when images can be scored, 503 before, while no decoder works, and while it stops; no key."""
        status = service.status
        response.status_code = 200 if status == "ok" else 503
        return Health(status=status)

    @router.get(
        "/metrics",
        summary="Counters for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **failures(Reason.NO_KEY, Reason.CROSS_SITE),
        },
    )
    async def metrics() -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    return router
