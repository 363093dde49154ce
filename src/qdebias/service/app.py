"""The ASGI application: routes, errors in fixed words, the page, and the guard around all of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

import qdebias
from qdebias.service.api_page import api_page
from qdebias.service.guard import Guard, error_answer
from qdebias.service.health import health_routes
from qdebias.service.keys import Keys
from qdebias.service.openapi import describe
from qdebias.service.page_routes import page_routes
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.routes import image_routes, other_routes
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
