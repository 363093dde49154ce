"""The general form of a method: every part can be exchanged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qdebias.degrade import Degradation
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.method import Answers, Condition, Context, Plan, Score, in_order, make_condition
from qdebias.methods.pooling import Evidence, Pooled, by_semantics, equally, mean_quality
from qdebias.methods.reading import Readings, joined, read_ensemble
from qdebias.probability import FloatArray
from qdebias.prompts import Placement, Question, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """Questions about the image alone or beside degraded copies, read and averaged in a way of choice.

    With one question, `by_semantics` or another weight of the paper, and `mean_quality` it gives the scores of
    `qdebias.QDebias`, and without degradations those of `qdebias.Vanilla`.

    Attributes:
        quality: M questions; the quality of an answer is the mean over them.
        same: The same-object question of eq. (11); None where the weights do not need it.
        degradations: The N ways to make conditional images; none: the image is asked about alone.
        weigh: From the evidence of N answers to their (N,) weights.
        mean: From N readings and their weights to one quality.
        likeness: From the query image and a conditional image to how alike they are, for `by_likeness`.
        placement: Whether the images come before or after the question.
        query_first: See `qdebias.QDebias`.
        temperature: T of the softmax over an answer's options.
    """

    quality: tuple[Question, ...]
    same: Question | None = None
    degradations: tuple[Degradation, ...] = ()
    weigh: Callable[[Evidence], FloatArray] = by_semantics
    mean: Callable[[Readings, FloatArray], Pooled] = mean_quality
    likeness: Callable[[RgbImage, RgbImage], float] | None = None
    placement: Placement = "before"
    query_first: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.quality:
            raise SettingError("a method needs at least one question about quality")
        if not self.temperature > 0:
            raise SettingError(f"the temperature must be above 0, got {self.temperature}")

    @property
    def questions(self) -> tuple[Question, ...]:
        """All that is asked about one sequence of images."""
        return self.quality if self.same is None else (*self.quality, self.same)

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Degrade the image in each way and ask about each pair, or ask about the image alone."""
        key = context.key(image)
        made = tuple(make_condition(one, image, seed=context.seed, key=key) for one in self.degradations)
        return self.plan_under(made, image)

    def plan_under(self, conditions: tuple[Condition, ...], image: RgbImage) -> Plan:
        """Ask about the image beside each of the conditions, which are already made."""
        pairs = [in_order(one.image, image, query_first=self.query_first) for one in conditions]
        shown: list[tuple[RgbImage, ...]] = [*pairs] or [(image,)]
        requests = tuple(Request(images=images, questions=self.questions, placement=self.placement) for images in shown)
        likeness = self.likeness
        similarity = () if likeness is None else tuple(likeness(image, one.image) for one in conditions)
        return Plan(requests=requests, conditions=conditions, similarity=similarity)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Read every answer, weigh them and average."""
        readings = joined([self._quality(answer) for answer in answers])
        same = np.array([self._same(answer) for answer in answers] if self.same is not None else [])
        evidence = Evidence(
            same=same if len(same) else np.zeros(len(answers)),
            similarity=np.array(plan.similarity),
            readings=readings,
        )
        weight = self.weigh(evidence) if self.degradations else equally(evidence)
        pooled = self.mean(readings, weight)
        return Score(
            value=pooled.value,
            good=np.exp(readings.high),
            same=same,
            weight=weight,
            logits=tuple(map(tuple, answers)),
            log_odds=pooled.log_odds,
        )

    def _quality(self, answer: Sequence[FloatArray]) -> Readings:
        return read_ensemble(self.quality, answer[: len(self.quality)], self.temperature)

    def _same(self, answer: Sequence[FloatArray]) -> float:
        question = (self.same,) if self.same is not None else ()
        return float(np.exp(read_ensemble(question, answer[len(self.quality) :], self.temperature).high[0]))
