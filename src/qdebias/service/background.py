"""The process that draws and correlates, which leaves the processors to whatever else wants them.

Run as `python -m qdebias.service.background`; it reads pickled calls from stdin and writes pickled results to stdout.
"""

import base64
import io
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import IO, ParamSpec, TypeVar

import numpy as np
from PIL import Image

from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.metrics.measures import correlate
from qdebias.report.figure import LONGEST_SIDE, Row, explain
from qdebias.runs.scorer import Explanation
from qdebias.service import READY
from qdebias.service.processes import EndedError, Pool, Process
from qdebias.service.reading import parse
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.schema import AgreementAnswer, AgreementRequest, ConditionPicture, ExplanationAnswer, ScoreAnswer

Params = ParamSpec("Params")
Result = TypeVar("Result")

NICENESS = 15
"""About a thirtieth of the share of a usual process, where all processors are busy; everything where one is idle."""


class Background:
    """Work beside the model: one task at a time, in the order in which they come."""

    def __init__(self, *, seconds: float) -> None:
        self.pool = Pool([Process("qdebias.service.background", seconds=seconds, environment=os.environ)])

    async def run(self, call: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """Return what a function of this package returns, or raise what it raised; a Refusal where it took too long."""

        def exchange(source: IO[bytes], sink: IO[bytes]) -> Result | Exception:
            pickle.dump((call, args, kwargs), source)
            source.flush()
            found: Result | Exception = pickle.load(sink)  # noqa: S301 (from our own process)
            return found

        try:
            async with self.pool.one() as process:
                found = await process.run(exchange)
        except EndedError as error:
            raise Refusal(Reason.DEADLINE) from error
        if isinstance(found, Exception):
            raise found
        return found


def agreement(body: bytes) -> bytes:
    """Return an AgreementAnswer in JSON: correlations, and for each image how far its ranks under both are apart."""
    from scipy import stats

    numbers = parse(AgreementRequest, body)
    try:
        found = correlate(numbers.scores, numbers.quality, resamples=0)
    except SettingError as error:
        raise Refusal(Reason.NOT_COMPARABLE) from error
    gap = (stats.rankdata(numbers.scores) - stats.rankdata(numbers.quality)) / found.count
    answer = AgreementAnswer(count=found.count, srcc=found.srcc, plcc=found.plcc, krcc=found.krcc, gap=gap.tolist())
    return answer.model_dump_json().encode()


QUALITY = 90  # of the WebP files that the page shows; the model saw the pixels themselves


def reduced(explanation: Explanation) -> Explanation:
    """Return an explanation with its images as large as they are drawn, and without what was asked about them."""

    def smaller(image: RgbImage) -> RgbImage:
        picture = Image.fromarray(image)
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        return np.asarray(picture)

    conditions = [replace(condition, image=smaller(condition.image)) for condition in explanation.plan.conditions]
    plan = replace(explanation.plan, requests=(), conditions=tuple(conditions))
    return replace(explanation, image=smaller(explanation.image), plan=plan)


def figure_png(answer: ScoreAnswer, row: Row) -> bytes:
    """Return the figure of one explanation."""
    out = io.BytesIO()
    title = f"model {answer.model}, method {answer.method}, seed {answer.seed}"
    explain([row], title=title).savefig(out, format="png", dpi=120)
    return out.getvalue()


def explanation_json(answer: ScoreAnswer, row: Row) -> bytes:
    """Return an ExplanationAnswer in JSON: a score with its pictures, as the page shows them."""
    images = [condition.image for condition in row.explanation.plan.conditions]
    same_object: list[float] | list[None] = answer.same or [None] * len(images)
    numbers = zip(answer.conditions, images, answer.good, same_object, answer.weight, strict=False)
    conditions = [
        ConditionPicture(kind=kind, picture=data_url(image), good=good, same=same, weight=weight)
        for kind, image, good, same, weight in numbers
    ]
    vanilla = answer.score if row.vanilla is None else row.vanilla
    picture = data_url(row.explanation.image)
    found = ExplanationAnswer(answer=answer, vanilla=vanilla, picture=picture, conditions=conditions)
    return found.model_dump_json().encode()


def data_url(image: RgbImage) -> str:
    """Return a picture as a data URL."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def main() -> None:
    """Run the process."""
    import matplotlib.backends.backend_agg  # noqa: F401 (what the first figure needs, before priority is little)
    import scipy.stats  # noqa: F401 (likewise the first correlation)

    sink = sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may stand between the results
    sink.write(READY)
    sink.flush()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with suppress(EOFError):
        while True:
            call, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301 (from the server)
            try:
                found = call(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 (raised again in the server)
                found = error
            pickle.dump(found, sink)
            sink.flush()


if __name__ == "__main__":
    main()
