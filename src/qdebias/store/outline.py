"""What a method will ask, said without any pixels: the names of the images instead of the images.

With it, the answers about an image are found again without decoding or degrading it. Methods that have no outline
are planned anew from the image; nothing is asked twice either way.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qdebias.degrade import Degradation
from qdebias.method import Method, QDebias, Vanilla
from qdebias.prompts import Placement, Question
from qdebias.store.describe import describe
from qdebias.store.keys import answer_key, question_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlinedRequest:
    """A request without its images.

    Attributes:
        condition: Name of the conditional image that stands before the query image; None where there is none.
        questions: What is asked about them.
        placement: See `qdebias.Request`.
    """

    condition: str | None
    questions: tuple[Question, ...]
    placement: Placement


Outline: TypeAlias = tuple[OutlinedRequest, ...]


def outline(method: Method) -> Outline | None:
    """Return the requests of a method, None where it is of a class whose plans are not known here."""
    if type(method) is Vanilla:
        return (OutlinedRequest(condition=None, questions=(method.question,), placement=method.placement),)
    if type(method) is QDebias:
        questions = (method.quality,) if method.same is None else (method.quality, method.same)
        return tuple(
            OutlinedRequest(condition=condition_name(degradation), questions=questions, placement=method.placement)
            for degradation in method.degradations
        )
    return None


def condition_name(degradation: Degradation) -> str:
    """Return the name of a conditional image: the degradation with its settings, as JSON."""
    return json.dumps(describe(degradation), sort_keys=True)


def condition_names(outlined: Outline | None) -> tuple[str, ...]:
    """Return the names of the conditional images, in the order of the plan."""
    return tuple(request.condition for request in outlined or () if request.condition is not None)


def outlined_keys(
    outlined: Outline, identity: str, image: str, conditions: Mapping[str, str]
) -> list[list[str]] | None:
    """Return the key of each answer, request by request; None where a conditional image was never made.

    Args:
        outlined: From `outline`.
        identity: From `identity_digest`.
        image: Digest of the query image.
        conditions: Digest of each conditional image by its name.
    """
    if not all(name in conditions for name in condition_names(outlined)):
        return None
    return [
        [
            answer_key(identity, _images(request, image, conditions), question_id(request.placement, question))
            for question in request.questions
        ]
        for request in outlined
    ]


def _images(request: OutlinedRequest, image: str, conditions: Mapping[str, str]) -> Sequence[str]:
    return (image,) if request.condition is None else (conditions[request.condition], image)
