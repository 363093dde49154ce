"""The routes under /v1: a request is read by `reading` and gets its place from `Service`; the rest is here."""

import asyncio
from functools import partial
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from qdebias.backends.catalogue import caution
from qdebias.methods import presets
from qdebias.report.figure import Row, words
from qdebias.runs.scorer import Explanation
from qdebias.service.background import agreement, explanation_json, figure_png, reduced
from qdebias.service.guard import problem
from qdebias.service.reading import PACKED, Form, Source, media_type
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.schema import (
    MOST_NUMBERS,
    AgreementAnswer,
    BatchAnswer,
    BatchRequest,
    BatchResult,
    ExplanationAnswer,
    MethodInfo,
    Methods,
    ModelInfo,
    Models,
    Problem,
    RewardAnswer,
    RewardError,
    RewardRequest,
    ScoreAnswer,
    ScoreRequest,
    body_of,
    failures,
    numbers_body,
)
from qdebias.service.service import Job, Service

NUMBERS_BYTES = 2 << 20
"""Largest body of numbers."""

PLAIN = "vanilla"
"""The method that an explanation compares with."""


def image_routes(service: Service) -> APIRouter:
    """Return the routes that take images."""
    router = APIRouter(prefix="/v1", tags=["scores"], dependencies=[Depends(refuse_unknown_query)])
    one, many = Form(ScoreRequest, service.settings), Form(BatchRequest, service.settings)

    @router.post("/score", responses=failures(), openapi_extra=body_of(ScoreRequest), summary="Score one image")
    async def score(request: Request) -> ScoreAnswer:
        """Return the quality of one image, sent as a form or as JSON."""
        return await service.answer(request, one, lambda job: _score(job, job.sources[0]))

    @router.post(
        "/score/batch",
        responses=failures(),
        openapi_extra=body_of(BatchRequest, most=many.most),
        summary="Score several images",
    )
    async def batch(request: Request) -> BatchAnswer:
        """Return the quality of each image; one that cannot be scored has an error in its place."""
        found = await service.answer(request, many, score_images)
        results = [
            BatchResult(index=index, result=None, error=Problem(**problem(one)))
            if isinstance(one, Refusal)
            else BatchResult(index=index, result=one, error=None)
            for index, one in enumerate(found)
        ]
        return BatchAnswer(results=results, failed=sum(result.error is not None for result in results))

    _add_explain(router, service)
    _add_reward(router, service)
    return router


def _add_explain(router: APIRouter, service: Service) -> None:
    form = Form(ScoreRequest, service.settings)

    @router.post(
        "/explain",
        responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}, **failures()},
        openapi_extra=body_of(ScoreRequest),
        response_model=ExplanationAnswer,
        summary="Show how a score comes about",
    )
    async def explain(
        request: Request,
        format: Annotated[Literal["png", "json"], Query(description="A figure, or its parts.")] = "png",  # noqa: A002
    ) -> Response:
        """Return the image, its degraded copies, and what the model made of each, as a figure or in parts."""
        drawn = explanation_json if format == "json" else figure_png

        async def draw(job: Job) -> bytes:
            async with job.decoded(job.sources[0]) as image:  # its pixels count as held until the picture is drawn
                methods = dict.fromkeys((job.method, PLAIN))
                made = (
                    job.score(image, method, lambda found: (score_answer(job, found), reduced(found)))
                    for method in methods
                )
                (answer, small), *plain = await asyncio.gather(*made)
                row = Row(name="image", explanation=small, vanilla=plain[0][0].score if plain else None)
                return await service.background.run(drawn, answer, row)

        data = await service.answer(request, form, draw)
        return Response(data, media_type="application/json" if format == "json" else "image/png")


def _add_reward(router: APIRouter, service: Service) -> None:
    form = Form(RewardRequest, service.settings)

    @router.post(
        "/reward",
        responses=failures(),
        response_model=RewardAnswer,
        openapi_extra=body_of(RewardRequest, most=form.most),
        summary="Judge generated images for training",
    )
    async def reward(request: Request) -> Response:
        """Return one number an image, in order; null for one that cannot be judged, whose error says why.

        As msgpack (`PackedRewardRequest`) images may be pixels; the answer is msgpack then.
        """
        found = await service.answer(request, form, reward_job)
        if media_type(request) == PACKED:
            return Response(msgspec.msgpack.encode(found.model_dump()), media_type=PACKED)
        return Response(found.model_dump_json(), media_type="application/json")


def refuse_unknown_query(request: Request) -> None:
    """Refuse a request with a query parameter that its address does not take."""
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
        openapi_extra=numbers_body(),
        summary="Compare scores with human scores",
    )
    async def compare(request: Request) -> Response:
        """Correlate scores with human scores, and say for each image how far its two ranks are apart."""
        found = await service.run_in_background(request, agreement, most=NUMBERS_BYTES, values=2 * MOST_NUMBERS + 16)
        return Response(found, media_type="application/json")

    return router


async def score_images(job: Job) -> list[ScoreAnswer | Refusal]:
    """Score each image; one that is refused does not keep the others from their scores."""

    async def one(source: Source) -> ScoreAnswer | Refusal:
        try:
            return await _score(job, source)
        except Refusal as refusal:
            return refusal

    return list(await asyncio.gather(*map(one, job.sources)))


async def reward_job(job: Job) -> RewardAnswer:
    """Score each image, for a program that trains on the scores; one that has none has its error."""
    found = await score_images(job)
    refused = [(index, one) for index, one in enumerate(found) if isinstance(one, Refusal)]
    return RewardAnswer(
        rewards=[None if isinstance(one, Refusal) else one.score for one in found],
        errors=[RewardError(index=index, **problem(one)) for index, one in refused],
        model=job.model,
        method=job.method,
        fingerprint=job.fingerprint,
    )


async def _score(job: Job, source: Source) -> ScoreAnswer:
    async with job.decoded(source) as image:
        return await job.score(image, job.method, partial(score_answer, job))


def score_answer(job: Job, found: Explanation) -> ScoreAnswer:
    """Return the answer about one image."""
    score = found.score
    return ScoreAnswer(
        score=score.value,
        model=job.model,
        method=job.method,
        seed=job.seed,
        conditions=[words(condition.kind) for condition in found.plan.conditions],
        beside=bool(found.plan.conditions) and all(len(request.images) > 1 for request in found.plan.requests),
        good=score.good.tolist(),
        same=score.same.tolist(),
        weight=score.weight.tolist(),
        probabilities=dict(score.probabilities),
        deviation=score.deviation,
        log_odds=score.log_odds,
    )
