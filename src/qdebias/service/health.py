"""Whether the server lives, takes requests, and what it has counted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

import uvicorn
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from qdebias.service.connection import server_config
from qdebias.service.openapi import failures
from qdebias.service.refusal import Reason
from qdebias.service.schema import Health
from qdebias.service.service import Service


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
        service.decoders.revive()
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


def health_app(service: Service) -> ASGIApp:
    """Return an application of /healthz and /readyz alone, which asks nothing of the service's event loop."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        statuses = {"/healthz": "stuck" if service.stuck else "ok", "/readyz": service.status}
        status = statuses.get(scope["path"])
        await JSONResponse({"status": status}, 404 if status is None else 200 if status == "ok" else 503)(
            scope, receive, send
        )

    return answer


@contextmanager
def health_server(service: Service, host: str, port: int) -> Iterator[socket]:
    """Answer /healthz and /readyz on a port of their own, in a thread of their own, as long as the context lasts.

    Yields:
        The socket that listens.

    Raises:
        SystemExit: The port is taken; its context is the OSError.
    """
    deadline = service.settings.deadline
    config = server_config(health_app(service), deadline=deadline, host=host, port=port, lifespan="off")
    server, listening = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="qdebias-health", daemon=True)
    thread.start()
    try:
        yield listening
    finally:
        server.should_exit = True
        thread.join(timeout=5)
