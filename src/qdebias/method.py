"""How a quality score is made: what to ask about an image, and what the answers amount to.

A method is any object that fits `Method`. It knows no model: `plan` says which questions to ask about which images,
`combine` turns the logits of the answers into a `Score`. Both are pure, so answers that were stored yesterday can be
combined in another way today.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import numpy as np

from qdebias.degrade import Degradation, Fog, Saturate, Spatter, ZoomBlur, kind_of, noise_rng
from qdebias.errors import SettingError
from qdebias.image import RgbImage, digest
from qdebias.probability import FloatArray, aggregate, expectation, semantic_weight
from qdebias.prompts import Placement, Question, Request

Shown = TypeVar("Shown", RgbImage, str)

Answers: TypeAlias = Sequence[Sequence[FloatArray]]
"""For each request of a plan, for each of its questions: the (K,) logits of the question's options."""


class Pool(Protocol):
    """Other images than the query, for conditions that do not show what it shows; see `qdebias.pool.ImagePool`."""

    def draw(self, image: str, count: int, rng: np.random.Generator) -> tuple[RgbImage, ...]:
        """Return `count` different images of other content.

        Args:
            image: `qdebias.image.digest` of the query image.
            count: How many.
            rng: Which ones; the same source of noise draws the same images.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a method may need beyond the image itself.

    Attributes:
        seed: Seed of the random degradations; each draws from a stream of its own, keyed by seed and image.
        pool: Other images, for the methods that need some.
        original: `qdebias.image.digest` of the image before it was made smaller; None where it was not.
    """

    seed: int = 0
    pool: Pool | None = None
    original: str | None = None

    def key(self, image: RgbImage) -> str:
        """Return what, with the seed, decides the noise for an image: its digest, before it was made smaller."""
        return self.original or digest(image)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition:
    """A degraded copy x'_i of the query image, shown beside it."""

    kind: str
    image: RgbImage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What to ask about one query image.

    Attributes:
        requests: What goes to the backend, in order.
        conditions: The N conditional images, in the order of the requests; none where the method has none.
        similarity: (N,) what a method measures on the pixels in place of asking the model: how alike each conditional
            image is to the query image, or whether it counts (1 or 0); otherwise empty.
    """

    requests: tuple[Request, ...]
    conditions: tuple[Condition, ...] = ()
    similarity: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """The quality of one image and how it came about.

    Attributes:
        value: Quality in [0, 1]; higher is better.
        good: (N,) P(good | x, x'_i) under each condition, in [0, 1]; N is 1 for a method without conditions.
        same: (N,) P(yes) of the same-object question, in [0, 1]; empty where it was not asked.
        weight: (N,) weights, of sum 1.
        logits: The answers that all of this was computed from, as the backend gave them.
        log_odds: The value as log-odds, computed without rounding to 0 or 1; None where the method does not tell.
        spread: Standard deviation of the value over seeds of the noise; None where there is one seed.
    """

    value: float
    good: FloatArray
    same: FloatArray
    weight: FloatArray
    logits: tuple[tuple[FloatArray, ...], ...]
    log_odds: float | None = None
    spread: float | None = None


class Method(Protocol):
    """A way to score an image with a large multimodal model."""

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Say what to ask about `image`."""
        ...

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Turn the answers to the plan's requests into the score."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanilla:
    """One question about the image alone, eq. (1): the method that Q-Debias is compared with.

    Attributes:
        question: What is asked.
        placement: Whether the image comes before or after the question.
        temperature: T of the softmax; 1 in the paper.
    """

    question: Question
    placement: Placement = "before"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def plan(self, image: RgbImage, context: Context) -> Plan:  # noqa: ARG002 (nothing here is random)
        """Ask the question about the image."""
        return Plan(requests=(Request(images=(image,), questions=(self.question,), placement=self.placement),))

    def combine(self, plan: Plan, answers: Answers) -> Score:  # noqa: ARG002 (there are no conditions)
        """Read P(good), eq. (1)."""
        good = expectation(answers[0][0], np.array(self.question.values), self.temperature)
        return Score(
            value=good,
            good=np.array([good]),
            same=np.empty(0),
            weight=np.ones(1),
            logits=tuple(map(tuple, answers)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QDebias:
    """The method of the paper: P(good) under the condition that a degraded copy is poor, eq. (2) to (11).

    Attributes:
        quality: The conditional question about the second image, of eq. (8).
        same: The same-object question of eq. (11); None where the weights do not need it.
        degradations: The N ways to make the conditional images x'_i.
        weigh: From the (N,) answers to `same` to the (N,) weights p(x'_i | x), eq. (10). Without `same` it is given
            N zeros.
        placement: Whether the images [x'_i, x] come before or after the question.
        query_first: Whether the order is [x, x'_i] instead, so that all conditions share what a model computes about
            the query image. Not in the paper; the questions have to be worded for it.
        temperature: T of the softmax over an answer's options; 1 in the paper.
    """

    quality: Question
    same: Question | None = None
    degradations: tuple[Degradation, ...] = (ZoomBlur(), Spatter(), Saturate(), Fog())
    weigh: Callable[[FloatArray], FloatArray] = semantic_weight
    placement: Placement = "before"
    query_first: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not self.degradations:
            raise SettingError("Q-Debias needs at least one degradation; without any, use Vanilla")

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Degrade the image in each way and ask about each pair."""
        key = context.key(image)
        made = tuple(make_condition(one, image, seed=context.seed, key=key) for one in self.degradations)
        return self.plan_under(made, image)

    def plan_under(self, conditions: tuple[Condition, ...], image: RgbImage) -> Plan:
        """Ask about the image beside each of the conditions, which are already made."""
        questions = (self.quality,) if self.same is None else (self.quality, self.same)
        requests = tuple(
            Request(
                images=in_order(condition.image, image, query_first=self.query_first),
                questions=questions,
                placement=self.placement,
            )
            for condition in conditions
        )
        return Plan(requests=requests, conditions=conditions)

    def combine(self, plan: Plan, answers: Answers) -> Score:  # noqa: ARG002 (the weights come from the model)
        """Average the conditional P(good) under the weights, eq. (9)."""
        good = np.array([self._read(answer[0], self.quality) for answer in answers])
        same = np.empty(0)
        if self.same is not None:
            same = np.array([self._read(answer[1], self.same) for answer in answers])
        weight = self.weigh(same if self.same is not None else np.zeros(len(good)))
        return Score(
            value=aggregate(good, weight),
            good=good,
            same=same,
            weight=weight,
            logits=tuple(map(tuple, answers)),
        )

    def _read(self, logits: FloatArray, question: Question) -> float:
        return expectation(logits, np.array(question.values), self.temperature)


def make_condition(degradation: Degradation, image: RgbImage, *, seed: int, key: str) -> Condition:
    """Degrade an image.

    Args:
        degradation: How.
        image: What.
        seed: Seed of the noise.
        key: `qdebias.image.digest` of the image; with seed and kind of degradation it decides the noise.

    Raises:
        SettingError: The degradation did not give an image of the same shape.
    """
    kind = kind_of(degradation)
    made = degradation(image, noise_rng(seed, key, kind))
    if made.dtype != np.uint8 or made.shape != image.shape:
        raise SettingError(
            f"the degradation {kind} gave {made.dtype} of shape {made.shape} for an image of shape {image.shape}; "
            f"it has to give uint8 of the same shape"
        )
    return Condition(kind=kind, image=made)


def in_order(condition: Shown, query: Shown, *, query_first: bool) -> tuple[Shown, Shown]:
    """Return a conditional image and the query image, or their names, in the order in which a model sees them."""
    return (query, condition) if query_first else (condition, query)


def check_temperature(temperature: float) -> None:
    """Refuse a temperature under which every score would be 0.5, or none a number, whatever the logits.

    Raises:
        SettingError: It is one.
    """
    if not 1e-100 <= temperature <= 1e100:
        raise SettingError(f"the temperature must be from 1e-100 to 1e100, got {temperature}")
