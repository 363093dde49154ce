"""Whether the server lives, takes requests, and what it has counted."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

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
