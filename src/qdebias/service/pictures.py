"""Pictures for looking at: reduced copies for the page, and the figure of `qdebias explain` as PNG."""

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from qdebias.image import RgbImage
from qdebias.report.figure import LONGEST_SIDE, Row, explain
from qdebias.service.schema import ConditionPicture, ExplanationAnswer, ScoreAnswer

QUALITY = 90
"""Of the WebP files that the page shows; the model saw the pixels themselves."""


def reduced(row: Row) -> Row:
    """Return a row with its images as large as they are drawn, and without what was asked about them."""
    explanation = row.explanation
    conditions = [replace(condition, image=_reduced(condition.image)) for condition in explanation.plan.conditions]
    plan = replace(explanation.plan, requests=(), conditions=tuple(conditions))
    return replace(row, explanation=replace(explanation, image=_reduced(explanation.image), plan=plan))


def figure_png(answer: ScoreAnswer, row: Row) -> bytes:
    """Return the figure of one explanation."""
    out = io.BytesIO()
    title = f"model {answer.model}, method {answer.method}, seed {answer.seed}"
    explain([row], title=title).savefig(out, format="png", dpi=120)
    return out.getvalue()


def explanation_json(answer: ScoreAnswer, row: Row) -> bytes:
    """Return an ExplanationAnswer in JSON: a score with its pictures, as the page shows them.

    Args:
        answer: The score.
        row: The images behind it, with the vanilla score.
    """
    conditions = row.explanation.plan.conditions
    numbers = zip(conditions, answer.good, answer.weight, strict=False)
    found = ExplanationAnswer(
        answer=answer,
        vanilla=answer.score if row.vanilla is None else row.vanilla,
        picture=data_url(row.explanation.image),
        conditions=[
            ConditionPicture(
                kind=answer.conditions[place],
                picture=data_url(condition.image),
                good=good,
                same=answer.same[place] if answer.same else None,
                weight=weight,
            )
            for place, (condition, good, weight) in enumerate(numbers)
        ],
    )
    return found.model_dump_json().encode()


def data_url(image: RgbImage) -> str:
    """Return a picture as a data URL."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _reduced(image: RgbImage) -> RgbImage:
    picture = Image.fromarray(image)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(picture)
