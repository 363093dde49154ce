"""Input and output of a method: a context, the plan of what to ask about one image, and its score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from qdebias.equations import FloatArray
from qdebias.image import RgbImage, digest
from qdebias.image.notebook import bar, strip, table
from qdebias.prompts import Request

Answers: TypeAlias = Sequence[Sequence[FloatArray]]
"""For each request of a plan, for each of its questions: the (K,) logits of the question's options."""


class Pool(Protocol):
    """Other images than the query, which show something else; see `qdebias.image.pool.ImagePool`."""

    def draw(self, image: str, count: int, rng: np.random.Generator) -> tuple[RgbImage, ...]:
        """Return `count` different images of other content than the query of digest `image`; `rng` decides which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a method may need beyond the image itself."""

    seed: int = 0  # of the random degradations; each draws from a stream of its own, keyed by seed and image
    pool: Pool | None = None  # other images, for the methods that need some
    original: str | None = None  # `qdebias.image.digest` of the image before it was made smaller; None where it was not

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

    def __repr__(self) -> str:
        kinds = ", ".join(condition.kind for condition in self.conditions) or "no conditions"
        questions = sum(len(request.questions) for request in self.requests)
        return f"Plan({kinds}; {questions} questions in {len(self.requests)} requests)"

    def _repr_html_(self) -> str:
        asked = dict.fromkeys(
            f"{one.text} {one.answer_prefix}" for request in self.requests for one in request.questions
        )
        drawn = strip((one.image, one.kind) for one in self.conditions)
        return f"{drawn}<ul>{''.join(f'<li>{escape(text)}</li>' for text in asked)}</ul>"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """The quality of one image and how it came about.

    Attributes:
        value: Quality in [0, 1]; higher is better.
        good: (N,) P(good | x, x'_i) under each condition, in [0, 1]; N is 1 for a method without conditions. Of a
            contrast: P(good | x'_i), as each copy is shown alone.
        same: (N,) P(yes) of the same-object question, in [0, 1]; empty where it was not asked.
        weight: (N,) weights, of sum 1.
        logits: The answers that all of this was computed from, as the backend gave them.
        log_odds: log(value / (1 - value)), computed without rounding to 0 or 1; None if a custom method
            does not return it, and where `value` was replaced without it.
        spread: Standard deviation of the value over seeds of the noise; None where there is one seed.
        probabilities: Probability of each option by its word, of sum 1: the mean over the questions about quality and
            over the conditions under their weights. Empty where the answers are no fixed options.
        deviation: Standard deviation of the options' values under these probabilities, in [0, 0.5]: how far the
            model's opinion is spread over the options, as DeQA-Score has it. None where there are no probabilities.
    """

    value: float
    good: FloatArray
    same: FloatArray
    weight: FloatArray
    logits: tuple[tuple[FloatArray, ...], ...]
    log_odds: float | None = None
    spread: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    deviation: float | None = None

    def __post_init__(self) -> None:
        if self.log_odds is not None and abs((1 + math.tanh(self.log_odds / 2)) / 2 - self.value) > 1e-9:
            object.__setattr__(self, "log_odds", None)

    def __repr__(self) -> str:
        good = " ".join(f"{p:.3f}" for p in self.good)
        weight = " ".join(f"{w:.3f}" for w in self.weight)
        return f"Score({self.value:.4f}, good=[{good}], weight=[{weight}])"

    def __float__(self) -> float:
        return self.value

    def __round__(self, digits: int | None = None) -> float:
        return round(self.value, digits)

    def __format__(self, form: str) -> str:
        return format(self.value, form) if form else repr(self)

    def __lt__(self, other: "Score | float") -> bool:
        return self.value < float(other)

    def __gt__(self, other: "Score | float") -> bool:
        return self.value > float(other)

    def _repr_html_(self) -> str:
        named = (("good", self.good), ("same object", self.same), ("weight", self.weight))
        bars = (bar(f"{name} {place}", p) for name, column in named for place, p in enumerate(column.tolist(), start=1))
        return table([bar("score", self.value), *bars])


class Method(Protocol):
    """A way to score an image with a large multimodal model.

    Optional properties: `outline` (`qdebias.methods.outline.Outline`), for scores from a run folder without its images;
    `words`, the options whose probabilities its scores hold, for columns; `questions`, all questions about one sequence
    of images, if some are `TopQuestion`s.
    """

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Say what to ask about `image`."""

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Turn the answers to the plan's requests into the score."""


@runtime_checkable
class OfOneModel(Protocol):
    """A method that one model alone can be asked with."""

    def check(self, identity: Mapping[str, str]) -> None:
        """Refuse, by a SettingError, another model than that of this `Fingerprint.identity`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An image that could not be scored, in the place where its score would stand."""

    name: str  # the path or other name as it was given, or "image 3" for the third of a list that came as pixels
    error: str  # why, and what to do about it, in one line
