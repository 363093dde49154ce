"""A method on its way: from a preset to its general form, part by part, and back to the simplest form that says it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from qdebias.ablations import SimilarityWeighted
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.method import Method, QDebias, Vanilla
from qdebias.methods.composed import Composed
from qdebias.methods.pooling import Evidence, by_likeness, by_semantics, by_winner, equally, mean_quality
from qdebias.methods.seeds import OverSeeds
from qdebias.probability import FloatArray, equal_weight, semantic_weight, winner_weight
from qdebias.prompts import TopQuestion

WEIGHTS: tuple[tuple[Callable[[FloatArray], FloatArray], Callable[[Evidence], FloatArray]], ...] = (
    (semantic_weight, by_semantics),
    (equal_weight, equally),
    (winner_weight, by_winner),
)
"""The weights of the paper, as `QDebias` takes them and as `Composed` does."""

ASKING = (by_semantics, by_winner)
"""The weights that need the same-object question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How alike two images are: 1 minus a distance."""

    distance: Callable[[RgbImage, RgbImage], float]

    def __call__(self, image: RgbImage, other: RgbImage) -> float:
        """Return 1 for the same image, about 0 for a very different one."""
        return 1.0 - self.distance(image, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A method that parts can still be added to.

    Attributes:
        method: What it is so far. It has the same-object question even where the weights do not need it.
        seeds: Under how many seeds it is asked.
        settled: Whether the conditions were chosen by name, so that an aspect keeps them.
    """

    method: Composed
    seeds: int = 1
    settled: bool = False


def draft_of(method: Method, name: str) -> Draft:
    """Return a method in its general form.

    Raises:
        SettingError: It has none.
    """
    if isinstance(method, Vanilla):
        return Draft(
            method=Composed(
                quality=(method.question,), placement=method.placement, temperature=method.temperature, weigh=equally
            )
        )
    if isinstance(method, QDebias) and method.weigh in dict(WEIGHTS):
        return Draft(
            method=Composed(
                quality=(method.quality,),
                same=method.same,
                degradations=method.degradations,
                weigh=dict(WEIGHTS)[method.weigh],
                placement=method.placement,
                query_first=method.query_first,
                temperature=method.temperature,
            )
        )
    if isinstance(method, Composed):
        return Draft(method=method)
    if isinstance(method, OverSeeds):
        return Draft(method=method.base, seeds=method.count)
    raise SettingError(f"method {name!r} cannot be changed by parts; use it alone, or begin with another")


def finished(draft: Draft) -> Method:
    """Return the method in the simplest form that says it, so that one method has one form however it was named."""
    method = _lean(draft.method)
    if draft.seeds > 1:
        return OverSeeds(base=method, count=draft.seeds)
    if any(isinstance(question, TopQuestion) for question in method.quality):
        return method
    if len(method.quality) > 1 or method.mean is not mean_quality or method.suits or method.prior:
        return method
    return _of_the_paper(method) or method


def _lean(method: Composed) -> Composed:
    """Leave out what changes no score: weights and the same-object question where there is nothing to weigh."""
    if len(method.degradations) < 2:
        return replace(method, same=None, suits=None, weigh=equally, mean=mean_quality, likeness=None)
    return method if method.weigh in ASKING else replace(method, same=None)


def _of_the_paper(method: Composed) -> Method | None:
    """Return a method that the paper has, as the class that says so; None where it has none."""
    (question,) = method.quality
    if not method.degradations:
        return Vanilla(question=question, placement=method.placement, temperature=method.temperature)
    weigh = next((plain for plain, general in WEIGHTS if general is method.weigh), None)
    if method.weigh is by_likeness:
        weigh = semantic_weight
    if weigh is None:
        return None
    plain = QDebias(
        quality=question,
        same=method.same,
        degradations=method.degradations,
        weigh=weigh,
        placement=method.placement,
        query_first=method.query_first,
        temperature=method.temperature,
    )
    if isinstance(method.likeness, Likeness):
        return SimilarityWeighted(base=plain, distance=method.likeness.distance)
    return plain
