"""The routes under /v1: what a request asks is read by `reading`, answered by `Service`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from qdebias import presets
from qdebias.report.figure import Row
from qdebias.service import asking
from qdebias.service.agreement import agreement
from qdebias.service.answers import batch_answer
from qdebias.service.openapi import body_of, failures, json_body
from qdebias.service.pictures import explanation, figure_png
from qdebias.service.reading import Form
from qdebias.service.refusal import Reason
from qdebias.service.schema import (
    AgreementAnswer,
    AgreementRequest,
    BatchAnswer,
    BatchRequest,
    ExplanationAnswer,
    MethodInfo,
    Methods,
    ModelInfo,
    Models,
    ScoreAnswer,
    ScoreRequest,
)
from qdebias.service.service import Service

NUMBERS_BYTES = 2 << 20
"""Largest body of numbers."""


def image_routes(service: Service) -> APIRouter:
    """Return the routes that take images."""
    router = APIRouter(prefix="/v1", tags=["scores"])
    limits = service.settings
    one = Form(field="image", schema=ScoreRequest, most=1, body_bytes=limits.body_bytes, image_bytes=limits.image_bytes)
    many = Form(
        field="images",
        schema=BatchRequest,
        most=limits.images,
        body_bytes=limits.batch_body_bytes,
        image_bytes=limits.image_bytes,
    )
    drawing = ThreadPoolExecutor(1, thread_name_prefix="qdebias-draw")
    body = body_of(ScoreRequest, "image", most=1)

    @router.post("/score", responses=failures(), openapi_extra=body, summary="Score one image")
    async def score(request: Request) -> ScoreAnswer:
        """Return the quality of one image, sent as a form or as JSON."""
        return await service.answer(request, one, asking.score)

    @router.post(
        "/score/batch",
        responses=failures(),
        openapi_extra=body_of(BatchRequest, "images", most=limits.images),
        summary="Score several images",
    )
    async def batch(request: Request) -> BatchAnswer:
        """Return the quality of each image; one that cannot be scored has an error in its place."""
        return batch_answer(await service.answer(request, many, asking.score_each))

    @router.post(
        "/explain",
        responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}, **failures()},
        openapi_extra=body,
        response_model=ExplanationAnswer,
        summary="Show how a score comes about",
    )
    async def explain(
        request: Request,
        format: Annotated[Literal["png", "json"], Query(description="A figure, or its parts.")] = "png",  # noqa: A002
    ) -> Response | ExplanationAnswer:
        """Return the image, its degraded copies, and what the model made of each, as a figure or in parts."""
        drawn = explanation if format == "json" else figure

        async def draw(answer: ScoreAnswer, row: Row) -> Response | ExplanationAnswer:
            return await asyncio.get_running_loop().run_in_executor(drawing, drawn, answer, row)

        return await service.answer(request, one, partial(asking.explain, draw=draw))

    return router


def figure(answer: ScoreAnswer, row: Row) -> Response:
    """Return the figure of one explanation as PNG."""
    title = f"model {answer.model}, method {answer.method}, seed {answer.seed}"
    return Response(figure_png(row, title=title), media_type="image/png")


def other_routes(service: Service) -> APIRouter:
    """Return the routes that take no image."""
    router = APIRouter(prefix="/v1", tags=["about"])
    usual = failures(Reason.NO_KEY, Reason.CROSS_SITE, Reason.NOT_READY)

    @router.get("/methods", responses=usual, summary="What methods there are")
    async def methods() -> Methods:
        """List the methods by which this server can ask."""
        served = service.ready()
        return Methods(
            methods=[
                MethodInfo(name=name, summary=presets.get(name).summary, default=name == served.method)
                for name in served.methods
            ]
        )

    @router.get("/models", responses=usual, summary="What models there are")
    async def models() -> Models:
        """List the models that this server has loaded."""
        served = service.ready()
        return Models(
            models=[
                ModelInfo(name=name, fingerprint=served.fingerprint(name), default=name == served.model)
                for name in served.scorers
            ]
        )

    @router.post(
        "/agreement",
        responses=failures(),
        openapi_extra=json_body(AgreementRequest, {"scores": [0.2, 0.5, 0.4], "quality": [1.5, 3.0, 4.5]}),
        summary="Compare scores with human scores",
    )
    async def compare(request: Request) -> AgreementAnswer:
        """Correlate scores with human scores, and say for each image how far its two ranks are apart."""
        asked = await service.numbers(request, AgreementRequest, NUMBERS_BYTES)
        return await asyncio.to_thread(agreement, asked)

    return router
