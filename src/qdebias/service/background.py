"""A low-priority process that draws figures and computes correlations.

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

NICENESS = 15  # about a thirtieth of a normal process's share while all processors are busy


class Background(Pool[Process]):
    """Runs functions beside the model, one at a time and in order."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__([Process("qdebias.service.background", seconds=seconds, environment=os.environ)])

    async def run(self, call: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """Run a function of this package in the process; raises a Refusal if it takes too long."""

        def exchange(source: IO[bytes], sink: IO[bytes]) -> Result | Exception:
            pickle.dump((call, args, kwargs), source)
            source.flush()
            result: Result | Exception = pickle.load(sink)  # noqa: S301 (from our own process)
            return result

        try:
            async with self.idle() as process:
                result = await process.run(exchange)
        except EndedError as error:
            raise Refusal(Reason.DEADLINE) from error
        if isinstance(result, Exception):
            raise result
        return result


def agreement(body: bytes) -> bytes:
    """Return an AgreementAnswer as JSON: correlations, and for each image the difference of its two ranks."""
    from scipy import stats

    numbers = parse(AgreementRequest, body)
    try:
        measures = correlate(numbers.scores, numbers.quality, resamples=0)
    except SettingError as error:
        raise Refusal(Reason.NOT_COMPARABLE) from error
    gap = (stats.rankdata(numbers.scores) - stats.rankdata(numbers.quality)) / measures.count
    correlations = {"srcc": measures.srcc, "plcc": measures.plcc, "krcc": measures.krcc}
    answer = AgreementAnswer(count=measures.count, **correlations, gap=gap.tolist())
    return answer.model_dump_json().encode()


QUALITY = 90  # of the WebP pictures on the page


def reduced(explanation: Explanation) -> Explanation:
    """Return an explanation with its images reduced to the size at which they are drawn, and without its requests."""

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
    """Return an ExplanationAnswer as JSON: a score with its pictures."""
    images = [condition.image for condition in row.explanation.plan.conditions]
    same_object: list[float] | list[None] = answer.same or [None] * len(images)
    numbers = zip(answer.conditions, images, answer.good, same_object, answer.weight, strict=False)
    conditions = [
        ConditionPicture(kind=kind, picture=data_url(image), good=good, same=same, weight=weight)
        for kind, image, good, same, weight in numbers
    ]
    vanilla = answer.score if row.vanilla is None else row.vanilla
    picture = data_url(row.explanation.image)
    explanation = ExplanationAnswer(answer=answer, vanilla=vanilla, picture=picture, conditions=conditions)
    return explanation.model_dump_json().encode()


def data_url(image: RgbImage) -> str:
    """Return a picture as a data URL."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def main() -> None:
    """Run the process."""
    import matplotlib.backends.backend_agg  # noqa: F401 (for the first figure; faster before the priority is lowered)
    import scipy.stats  # noqa: F401 (for the first correlation)

    sink = sys.stdout.buffer
    sys.stdout = sys.stderr  # stdout is for results only
    sink.write(READY)
    sink.flush()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with suppress(EOFError):
        while True:
            call, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301 (from the server)
            try:
                result = call(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 (raised again in the server)
                result = error
            pickle.dump(result, sink)
            sink.flush()


if __name__ == "__main__":
    main()
