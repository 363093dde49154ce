"""The ASGI application: routes, errors in fixed words, the page, and the guard around all of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from mimetypes import MimeTypes
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from jinja2 import Template
from msgspec.json import schema_components
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

import qdebias
from qdebias.service.guard import Guard, Keys, error_answer
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.routes import image_routes, other_routes
from qdebias.service.schema import (
    REFERENCE,
    AgreementRequest,
    BatchRequest,
    Health,
    RewardRequest,
    ScoreRequest,
    failures,
)
from qdebias.service.service import Service


def create_app(
    service: Service,
    *,
    keys: Keys,
    hosts: frozenset[str] = frozenset(),
    in_ray: bool = False,
) -> Guard:
    """Return the application.

    Args:
        service: What answers.
        keys: Who may ask; none: everybody who reaches the server.
        hosts: Names by which the server may be addressed; none: any.
        in_ray: Whether it is a replica of Ray Serve: starting then takes until the models are loaded, and fails where
            they cannot be, while /readyz tells elsewhere; and Ray's proxies add the id of a request to the answer.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            if in_ray:
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
        exception_handlers={Refusal: _refused, RequestValidationError: _refused, HTTPException: _refused},
    )
    for router in (image_routes(service), other_routes(service), health_routes(service), page_routes()):
        app.include_router(router)
    text = Path(__file__).with_name("api_page.html").read_text(encoding="utf-8")
    page = Template(text, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    openapi = cache(partial(describe, app, keys=bool(keys)))
    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(page.render(api=openapi(), url=str(request.base_url).rstrip("/")))

    limits = service.settings
    return Guard(app=app, keys=keys, hosts=hosts, metrics=service.metrics, deadline=limits.deadline, show_id=not in_ray)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        reasons = {404: Reason.NOT_FOUND, 405: Reason.NOT_ALLOWED}
        error = Refusal(reasons.get(error.status_code, Reason.MALFORMED), headers=error.headers)
    return error_answer(error if isinstance(error, Refusal) else Refusal(Reason.MALFORMED))


FOLDER = Path(__file__).parent / "page"
KINDS = MimeTypes()
"""Python's own; what the system would guess differs from machine to machine."""


def page_routes() -> APIRouter:
    """Return one route a file, and the page itself at the root."""
    router = APIRouter(include_in_schema=False)

    def add(path: Path) -> None:
        data, (kind, _) = path.read_bytes(), KINDS.guess_type(path.name, strict=False)

        @router.get("/" if path.name == "index.html" else f"/{path.name}")
        async def file() -> Response:
            return Response(data, media_type=kind, headers={"cache-control": "no-cache"})

    for path in sorted(FOLDER.iterdir()):
        add(path)
    return router


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
        return Response(generate_latest(service.metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return router


def describe(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    """Return what /openapi.json says."""
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models = (ScoreRequest, BatchRequest, RewardRequest, AgreementRequest)
    _, extra = schema_components(models, ref_template=REFERENCE)
    image = extra["ImageSource"]
    image["oneOf"] = [{"required": [name]} for name in image["properties"]]
    components = found.setdefault("components", {})
    components.setdefault("schemas", {}).update(extra)
    if keys:
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "password": {"type": "http", "scheme": "basic", "description": "Any user; the key is the password."},
        }
        found["security"] = [{"key": []}, {"password": []}]
        for path in ("/healthz", "/readyz"):
            found["paths"][path]["get"]["security"] = []
    return found
