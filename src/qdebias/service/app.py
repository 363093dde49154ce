"""The ASGI application: routes, answers and their description in OpenAPI, the web page."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from mimetypes import MimeTypes
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from jinja2 import Template
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

import qdebias
from qdebias.backends.catalogue import CAUTIONS
from qdebias.methods import presets
from qdebias.report.figure import Row, words
from qdebias.runs.scorer import Explanation
from qdebias.service.background import agreement, explanation_json, figure_png, reduced
from qdebias.service.guard import Guard, Keys, error_answer, problem
from qdebias.service.reading import PACKED, Form, Source, media_type
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.schema import (
    MOST_NUMBERS,
    REFERENCE,
    AgreementAnswer,
    AgreementRequest,
    BatchAnswer,
    BatchRequest,
    BatchResult,
    ExplanationAnswer,
    Health,
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
)
from qdebias.service.service import Job, Service

NUMBERS_BYTES = 2 << 20  # largest body of /v1/agreement
PLAIN = "vanilla"  # the method that an explanation compares with


def create_app(service: Service, *, keys: Keys, hosts: frozenset[str] = frozenset(), in_ray: bool = False) -> Guard:
    """Return the application; without keys anybody may use it, and without hosts any Host header is accepted.

    A replica of Ray Serve has started when its models are loaded, and fails if they cannot be; Ray's proxies add
    request ids to answers themselves.
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
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={Refusal: _refused, RequestValidationError: _refused, HTTPException: _refused},
    )
    for router in (image_routes(service), other_routes(service), health_routes(service), page_routes()):
        app.router.routes += router.routes  # `include_router` would build them again during the first request
    text = Path(__file__).with_name("api_page.html").read_text(encoding="utf-8")
    page = Template(text, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    api = describe(app, keys=bool(keys))  # takes too long to do in a request
    app.openapi = lambda: api  # type: ignore[method-assign]  # FastAPI's documented way

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(page.render(api=api, url=str(request.base_url).rstrip("/")))

    deadline = service.settings.deadline
    return Guard(app=app, keys=keys, hosts=hosts, metrics=service.metrics, deadline=deadline, show_id=not in_ray)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        reasons = {404: Reason.NOT_FOUND, 405: Reason.NOT_ALLOWED}
        error = Refusal(reasons.get(error.status_code, Reason.MALFORMED), headers=error.headers)
    return error_answer(error if isinstance(error, Refusal) else Refusal(Reason.MALFORMED))


def page_routes() -> APIRouter:
    """Return a route for each file of the page, with index.html at the root."""
    router = APIRouter(include_in_schema=False)
    kinds = MimeTypes()  # Python's own, as those of the system differ between machines

    def add(path: Path) -> None:
        data, (kind, _) = path.read_bytes(), kinds.guess_type(path.name, strict=False)

        @router.get("/" if path.name == "index.html" else f"/{path.name}")
        async def file() -> Response:
            return Response(data, media_type=kind, headers={"cache-control": "no-cache"})

    for path in sorted((Path(__file__).parent / "page").iterdir()):
        add(path)
    return router


def health_routes(service: Service) -> APIRouter:
    """Return the routes for monitoring."""
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


async def refuse_unknown_query(request: Request) -> None:
    """Refuse a request with an unknown query parameter."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    if not set(request.query_params) <= set(known):
        taken = ", ".join(known) or "none"
        raise Refusal(Reason.MALFORMED, f"query parameters that this address takes: {taken}")


def image_routes(service: Service) -> APIRouter:
    """Return the routes that take images."""
    router = APIRouter(
        prefix="/v1", tags=["scores"], dependencies=[Depends(refuse_unknown_query)], responses=failures()
    )
    one, many, reward_form = (Form(body, service.settings) for body in (ScoreRequest, BatchRequest, RewardRequest))

    @router.post("/score", openapi_extra=body_of(ScoreRequest), summary="Score one image")
    async def score(request: Request) -> ScoreAnswer:
        """Return the quality of one image, sent as a form or as JSON."""
        return await service.answer(request, one, lambda job: _score(job, job.sources[0]))

    @router.post("/score/batch", openapi_extra=body_of(BatchRequest, most=many.most), summary="Score several images")
    async def batch(request: Request) -> BatchAnswer:
        """Return the quality of each image; one that cannot be scored has an error in its place."""
        results = [
            BatchResult(index=index, result=None, error=Problem(**problem(answer)))
            if isinstance(answer, Refusal)
            else BatchResult(index=index, result=answer, error=None)
            for index, answer in enumerate(await service.answer(request, many, _score_all))
        ]
        return BatchAnswer(results=results, failed=sum(result.error is not None for result in results))

    @router.post(
        "/explain",
        responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
        openapi_extra=body_of(ScoreRequest),
        response_model=ExplanationAnswer,
        summary="Show how a score comes about",
    )
    async def explain(
        request: Request,
        format: Annotated[Literal["png", "json"], Query(description="A figure, or its parts.")] = "png",  # noqa: A002
    ) -> Response:
        """Return the image, its degraded copies, and what the model made of each, as a figure or in parts."""
        draw = partial(_draw, service, explanation_json if format == "json" else figure_png)
        data = await service.answer(request, one, draw)
        return Response(data, media_type="application/json" if format == "json" else "image/png")

    @router.post(
        "/reward",
        response_model=RewardAnswer,
        openapi_extra=body_of(RewardRequest, most=reward_form.most),
        summary="Judge generated images for training",
    )
    async def reward(request: Request) -> Response:
        """Return one number per image, in order; null for one that cannot be scored, with its error.

        As msgpack (`PackedRewardRequest`) images may be pixels; the answer is msgpack then.
        """
        answer = await service.answer(request, reward_form, _reward)
        if media_type(request) == PACKED:
            return Response(msgspec.msgpack.encode(answer.model_dump()), media_type=PACKED)
        return Response(answer.model_dump_json(), media_type="application/json")

    return router


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
                    name=name,
                    fingerprint=served.fingerprint(name),
                    default=name == served.model,
                    note=CAUTIONS.get(name, ""),
                )
                for name in served.scorers
            ]
        )

    @router.post(
        "/agreement",
        responses=failures(),
        response_model=AgreementAnswer,
        openapi_extra=body_of(AgreementRequest),
        summary="Compare scores with human scores",
    )
    async def compare(request: Request) -> Response:
        """Correlate scores with human scores, and say for each image how far its two ranks are apart."""
        answer = await service.run_in_background(request, agreement, most=NUMBERS_BYTES, values=2 * MOST_NUMBERS + 16)
        return Response(answer, media_type="application/json")

    return router


async def _score(job: Job, source: Source) -> ScoreAnswer:
    async with job.decoded(source) as image:
        return await job.score(image, job.method, partial(_score_answer, job))


async def _score_all(job: Job) -> list[ScoreAnswer | Refusal]:
    """Return the score of each image, or its refusal."""

    async def score(source: Source) -> ScoreAnswer | Refusal:
        try:
            return await _score(job, source)
        except Refusal as refusal:
            return refusal

    return list(await asyncio.gather(*map(score, job.sources)))


async def _reward(job: Job) -> RewardAnswer:
    answers = await _score_all(job)
    refused = [(index, answer) for index, answer in enumerate(answers) if isinstance(answer, Refusal)]
    return RewardAnswer(
        rewards=[None if isinstance(answer, Refusal) else answer.score for answer in answers],
        errors=[RewardError(index=index, **problem(refusal)) for index, refusal in refused],
        model=job.model,
        method=job.method,
        fingerprint=job.served.fingerprint(job.model),
    )


async def _draw(service: Service, drawn: Callable[[ScoreAnswer, Row], bytes], job: Job) -> bytes:
    def make(explanation: Explanation) -> tuple[ScoreAnswer, Explanation]:
        return _score_answer(job, explanation), reduced(explanation)

    async with job.decoded(job.sources[0]) as image:  # counts as held until the figure is drawn
        scores = (job.score(image, method, make) for method in dict.fromkeys((job.method, PLAIN)))
        (answer, small), *plain = await asyncio.gather(*scores)
        row = Row(name="image", explanation=small, vanilla=plain[0][0].score if plain else None)
        return await service.background.run(drawn, answer, row)


def _score_answer(job: Job, explanation: Explanation) -> ScoreAnswer:
    score, plan = explanation.score, explanation.plan
    return ScoreAnswer(
        score=score.value,
        model=job.model,
        method=job.method,
        seed=job.seed,
        conditions=[words(condition.kind) for condition in plan.conditions],
        beside=bool(plan.conditions) and all(len(request.images) > 1 for request in plan.requests),
        good=score.good.tolist(),
        same=score.same.tolist(),
        weight=score.weight.tolist(),
        probabilities=dict(score.probabilities),
        deviation=score.deviation,
        log_odds=score.log_odds,
    )


def describe(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    """Return the content of /openapi.json."""
    api = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models = (ScoreRequest, BatchRequest, RewardRequest, AgreementRequest)
    _, extra = msgspec.json.schema_components(models, ref_template=REFERENCE)
    image = extra["ImageSource"]
    image["oneOf"] = [{"required": [name]} for name in image["properties"]]
    components = api.setdefault("components", {})
    components.setdefault("schemas", {}).update(extra)
    if keys:
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "password": {"type": "http", "scheme": "basic", "description": "Any user; the key is the password."},
        }
        api["security"] = [{"key": []}, {"password": []}]
        for path in ("/healthz", "/readyz"):
            api["paths"][path]["get"]["security"] = []
    return api
