"""What is done with the images of a request, once its body is read and it has its places in the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qdebias.report.figure import Row
from qdebias.service.answers import reward_answer, score_answer
from qdebias.service.reading import Source
from qdebias.service.refusal import Refusal
from qdebias.service.schema import RewardAnswer, ScoreAnswer
from qdebias.service.service import Job

Picture = TypeVar("Picture")

PLAIN = "vanilla"
"""The method that an explanation compares with."""


async def score(job: Job) -> ScoreAnswer:
    """Score the only image of a request."""
    return await _score(job, job.sources[0])


async def score_each(job: Job) -> list[ScoreAnswer | Refusal]:
    """Score each image; one that is refused does not keep the others from their scores."""
    return list(await asyncio.gather(*(_score_or_refuse(job, source) for source in job.sources)))


async def reward(job: Job) -> RewardAnswer:
    """Score each image, for a program that trains on the scores."""
    found = await score_each(job)
    return reward_answer(found, model=job.model, method=job.method, fingerprint=job.fingerprint)


async def explain(job: Job, *, draw: Callable[[ScoreAnswer, Row], Awaitable[Picture]]) -> Picture:
    """Score the only image of a request, ask the plain question too, and draw how the score came about.

    The pixels count as held, and the request keeps its place, until the picture is drawn.
    """
    async with job.decoded(job.sources[0]) as image:
        methods = dict.fromkeys((job.method, PLAIN))
        found, *plain = await asyncio.gather(*(job.explain(image, method) for method in methods))
        answer = score_answer(found, model=job.model, method=job.method, seed=job.seed)
        row = Row(name="image", explanation=found, vanilla=plain[0].score.value if plain else None)
        return await draw(answer, row)


async def _score(job: Job, source: Source) -> ScoreAnswer:
    async with job.decoded(source) as image:
        found = await job.explain(image, job.method)
    return score_answer(found, model=job.model, method=job.method, seed=job.seed)


async def _score_or_refuse(job: Job, source: Source) -> ScoreAnswer | Refusal:
    try:
        return await _score(job, source)
    except Refusal as refusal:
        return refusal
