"""Images inside the page."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from qdebias.errors import QdebiasError
from qdebias.image import RgbImage, digest, load_image
from qdebias.methods import presets
from qdebias.methods.method import Context, Score
from qdebias.report.words import words

SMALL, LARGE = 200, 320
"""Longest side of a picture in a gallery and in the details, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A conditional image with what the model said under it.

    Attributes:
        kind: What was done to the image.
        picture: As a data address.
        good: P(good), in [0, 1].
        same: P(same object); None where it was not asked.
        weight: Its weight.
    """

    kind: str
    picture: str
    good: float
    same: float | None
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The pictures of one image.

    Attributes:
        small: The image for a gallery, as a data address; empty where it cannot be read any more.
        large: The image for the details; likewise.
        conditions: Its conditional images.
        note: Why something is missing; empty where nothing is.
    """

    small: str = ""
    large: str = ""
    conditions: tuple[Shown, ...] = ()
    note: str = ""


def pictures_of(path: str, known: str | None, score: Score, *, method: str, seed: int) -> Pictures:
    """Return the pictures of an image, its conditional images made anew from it.

    Args:
        path: Where the image was.
        known: Digest of its pixels when it was scored; None where that is not known.
        score: Its score.
        method: Name of the method that makes the conditional images.
        seed: Seed of the degradations.
    """
    try:
        image = load_image(Path(path))
    except QdebiasError:
        return Pictures(note="The image cannot be read any more.")
    found = Pictures(small=inlined(image, SMALL), large=inlined(image, LARGE))
    if known not in (None, digest(image)):
        return Pictures(
            small=found.small, large=found.large, note="The file has changed since it was scored; this is the new one."
        )
    try:
        plan = presets.get(method).method.plan(image, Context(seed=seed))
    except QdebiasError as error:
        return Pictures(small=found.small, large=found.large, note=f"Its conditional images cannot be shown: {error}")
    if len(plan.conditions) != len(score.good):
        return found
    return Pictures(
        small=found.small,
        large=found.large,
        conditions=tuple(
            Shown(
                kind=words(condition.kind),
                picture=inlined(condition.image, SMALL),
                good=float(score.good[place]),
                same=float(score.same[place]) if len(score.same) else None,
                weight=float(score.weight[place]),
            )
            for place, condition in enumerate(plan.conditions)
        ),
    )


def inlined(image: RgbImage, longest: int) -> str:
    """Return an image as a data address: JPEG, its longest side at most `longest` pixels."""
    picture, file = Image.fromarray(image), BytesIO()
    picture.thumbnail((longest, longest))
    picture.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
