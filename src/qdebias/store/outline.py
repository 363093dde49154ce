"""What a method will ask, said without any pixels: the names of the images instead of the images.

With it, the answers about an image are found again without decoding or degrading it. Methods that have no outline
are planned anew from the image; nothing is asked twice either way.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qdebias.ablations import Mismatched, SimilarityWeighted
from qdebias.degrade import Degradation
from qdebias.method import Method, QDebias, Vanilla, in_order
from qdebias.methods.composed import Composed
from qdebias.methods.seeds import OverSeeds
from qdebias.prompts import Placement, Question
from qdebias.store.describe import describe
from qdebias.store.keys import answer_key, question_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlinedRequest:
    """A request without its images.

    Attributes:
        condition: Name of the conditional image that stands beside the query image; None where there is none.
        questions: What is asked about them.
        placement: See `qdebias.Request`.
        query_first: See `qdebias.QDebias`.
        instead: Digest of the image that stands in the place of the query image; None where that stands there itself.
    """

    condition: str | None
    questions: tuple[Question, ...]
    placement: Placement
    query_first: bool = False
    instead: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a method asks about one image.

    Attributes:
        requests: In the order of the plan.
        shared: Whether image, seed and the names of the conditions decide the conditions and all else that `combine`
            needs, so that what other methods noted of the same conditions serves this method too.
    """

    requests: tuple[OutlinedRequest, ...]
    shared: bool = True

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditional images, in the order of the plan."""
        asked = (request for request in self.requests if request.instead is None)
        return tuple(request.condition for request in asked if request.condition is not None)


def outline(method: Method) -> Outline | None:
    """Return the requests of a method, None where it is of a class whose plans are not known here."""
    if type(method) is Vanilla:
        only = OutlinedRequest(condition=None, questions=(method.question,), placement=method.placement)
        return Outline(requests=(only,))
    if type(method) is QDebias:
        return Outline(requests=_requests(method))
    if type(method) is SimilarityWeighted:
        return Outline(requests=_requests(method.base), shared=False)
    if type(method) is Mismatched:
        requests = (
            replace(request, condition=f"{request.condition} of another image") for request in _requests(method.base)
        )
        return Outline(requests=tuple(requests), shared=False)
    if type(method) is Composed:
        return Outline(requests=_composed(method, _names(method)), shared=_by_pixels(method))
    if type(method) is OverSeeds:
        names = tuple(_under(draw.offset, condition_name(draw.degradation)) for draw in method.draws)
        return Outline(requests=_composed(method.base, names), shared=_by_pixels(method.base))
    return None


def _by_pixels(method: Composed) -> bool:
    """Return whether the pixels of the conditions and the answers are all that the method needs."""
    return method.likeness is None and method.suits is None


def _names(method: Composed) -> tuple[str | None, ...]:
    return tuple(map(condition_name, method.degradations)) or (None,)


def _under(offset: int, name: str) -> str:
    """Return the name of a conditional image whose noise has another seed than the run's."""
    return f"{name} with seed + {offset}" if offset else name


def _composed(method: Composed, conditions: Sequence[str | None]) -> tuple[OutlinedRequest, ...]:
    asked: list[tuple[str | None, tuple[Question, ...]]] = [(None, method.questions)]
    if method.prior is not None:
        asked.append((method.prior.digest, method.quality))
    return tuple(
        OutlinedRequest(
            condition=condition,
            questions=questions,
            placement=method.placement,
            query_first=method.query_first,
            instead=instead,
        )
        for condition in conditions
        for instead, questions in asked
    )


def _requests(method: QDebias) -> tuple[OutlinedRequest, ...]:
    questions = (method.quality,) if method.same is None else (method.quality, method.same)
    return tuple(
        OutlinedRequest(
            condition=condition_name(degradation),
            questions=questions,
            placement=method.placement,
            query_first=method.query_first,
        )
        for degradation in method.degradations
    )


def condition_name(degradation: Degradation) -> str:
    """Return the name of a conditional image: the degradation with its settings, as JSON."""
    return json.dumps(describe(degradation), sort_keys=True)


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
    if not all(name in conditions for name in outlined.conditions):
        return None
    return [
        [
            answer_key(identity, _images(request, image, conditions), question_id(request.placement, question))
            for question in request.questions
        ]
        for request in outlined.requests
    ]


def _images(request: OutlinedRequest, image: str, conditions: Mapping[str, str]) -> Sequence[str]:
    image = request.instead or image
    if request.condition is None:
        return (image,)
    return in_order(conditions[request.condition], image, query_first=request.query_first)
