"""The routes under /v1: what a request asks is read by `reading`, answered by `Service`."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from qdebias.backends.catalogue import caution
from qdebias.methods import presets
from qdebias.report.figure import Row
from qdebias.service import asking
from qdebias.service.agreement import agreement
from qdebias.service.answers import batch_answer
from qdebias.service.openapi import body_of, failures, json_body
from qdebias.service.pictures import explanation_json, figure_png, reduced
from qdebias.service.reading import PACKED, TEXT_FIELDS, Form, media_type
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.schema import (
    MOST_NUMBERS,
    AgreementAnswer,
    AgreementRequest,
    BatchAnswer,
    BatchRequest,
    ExplanationAnswer,
    MethodInfo,
    Methods,
    ModelInfo,
    Models,
    RewardAnswer,
    RewardRequest,
    ScoreAnswer,
    ScoreRequest,
)
from qdebias.service.service import Service

NUMBERS_BYTES = 2 << 20
"""Largest body of numbers."""


def image_routes(service: Service) -> APIRouter:
    """Return the routes that take images."""
    router = APIRouter(prefix="/v1", tags=["scores"], dependencies=[Depends(refuse_unknown_query)])
    limits = service.settings
    one = Form(
        field="image",
        schema=ScoreRequest,
        most=1,
        body_bytes=limits.body_bytes,
        json_bytes=limits.body_bytes,
        image_bytes=limits.image_bytes,
    )
    many = replace(one, field="images", schema=BatchRequest, most=limits.images, body_bytes=limits.batch_body_bytes)
    _add_reward(
        router, service, replace(many, schema=RewardRequest, texts=(*TEXT_FIELDS, "lossy"), lossy=False, packed=True)
    )
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
    ) -> Response:
        """Return the image, its degraded copies, and what the model made of each, as a figure or in parts."""
        drawn = explanation_json if format == "json" else figure_png

        async def draw(answer: ScoreAnswer, row: Row) -> bytes:
            return await service.aside.run(drawn, answer, await asyncio.to_thread(reduced, row))

        data = await service.answer(request, one, partial(asking.explain, draw=draw))
        return Response(data, media_type="application/json" if format == "json" else "image/png")

    return router


def _add_reward(router: APIRouter, service: Service, form: Form) -> None:
    @router.post(
        "/reward",
        responses=failures(),
        response_model=RewardAnswer,
        openapi_extra=body_of(RewardRequest, "images", most=form.most),
        summary="Judge generated images for training",
    )
    async def reward(request: Request) -> Response:
        """Return one number an image, in order; null for one that cannot be judged, whose error says why.

        As msgpack (`PackedRewardRequest`) images may be pixels; the answer is msgpack then.
        """
        found = await service.answer(request, form, asking.reward)
        if media_type(request) == PACKED:
            return Response(msgspec.msgpack.encode(found.model_dump()), media_type=PACKED)
        return Response(found.model_dump_json(), media_type="application/json")


def refuse_unknown_query(request: Request) -> None:
    """Refuse a request with a query parameter that its address does not take.

    Raises:
        Refusal: It has one.
    """
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    if not set(request.query_params) <= set(known):
        taken = ", ".join(known) or "none"
        raise Refusal(Reason.MALFORMED, f"query parameters that this address takes: {taken}")


def other_routes(service: Service) -> APIRouter:
    """Return the routes that take no image."""
    router = APIRouter(prefix="/v1", tags=["about"], dependencies=[Depends(refuse_unknown_query)])
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
                ModelInfo(
                    name=name, fingerprint=served.fingerprint(name), default=name == served.model, note=caution(name)
                )
                for name in served.scorers
            ]
        )

    @router.post(
        "/agreement",
        responses=failures(),
        response_model=AgreementAnswer,
        openapi_extra=json_body(AgreementRequest, {"scores": [0.2, 0.5, 0.4], "quality": [1.5, 3.0, 4.5]}),
        summary="Compare scores with human scores",
    )
    async def compare(request: Request) -> Response:
        """Correlate scores with human scores, and say for each image how far its two ranks are apart."""
        found = await service.work_aside(request, agreement, most=NUMBERS_BYTES, values=2 * MOST_NUMBERS + 16)
        return Response(found, media_type="application/json")

    return router
