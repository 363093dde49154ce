"""Pictures for looking at: reduced copies for the page, and the figure of `qdebias explain` as PNG."""

import base64
import io

from PIL import Image

from qdebias.image import RgbImage
from qdebias.report.figure import LONGEST_SIDE, Row, explain
from qdebias.service.schema import ConditionPicture, ExplanationAnswer, ScoreAnswer

QUALITY = 90
"""Of the WebP files that the page shows; the model saw the pixels themselves."""


def figure_png(row: Row, *, title: str) -> bytes:
    """Return the figure of one explanation."""
    out = io.BytesIO()
    explain([row], title=title).savefig(out, format="png", dpi=120)
    return out.getvalue()


def explanation(answer: ScoreAnswer, row: Row) -> ExplanationAnswer:
    """Return a score with its pictures, as the page shows them.

    Args:
        answer: The score.
        row: The images behind it, with the vanilla score.
    """
    conditions = row.explanation.plan.conditions
    numbers = zip(conditions, answer.good, answer.weight, strict=False)
    return ExplanationAnswer(
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


def data_url(image: RgbImage) -> str:
    """Return a reduced copy as a data URL."""
    picture = Image.fromarray(image)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")
