"""The general form of a method: every part can be exchanged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qdebias.degrade import Degradation
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.method import Answers, Condition, Context, Plan, Score, check_temperature, in_order, make_condition
from qdebias.methods.pooling import Evidence, Pooled, by_semantics, equally, mean_quality
from qdebias.methods.prior import ContentFree, without_prior
from qdebias.methods.reading import Readings, joined, read_ensemble
from qdebias.probability import FloatArray
from qdebias.prompts import Placement, Question, Request, TopQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """Questions about the image alone or beside degraded copies, read and averaged in a way of choice.

    With one question, `by_semantics` or another weight of the paper, and `mean_quality` it gives the scores of
    `qdebias.QDebias`, and without degradations those of `qdebias.Vanilla`.

    Attributes:
        quality: M questions; the quality of an answer is the mean over them.
        same: The same-object question of eq. (11); None where the weights do not need it.
        degradations: The N ways to make conditional images; none: the image is asked about alone.
        suits: From the query image and a degradation to whether that condition counts; None: all do. All are asked
            about either way, so that what is stored serves other choices.
        weigh: From the evidence of the answers that count to their weights.
        mean: From readings and their weights to one quality.
        likeness: From the query image and a conditional image to how alike they are, for `by_likeness`.
        prior: What is asked about in the place of the query image as well, to subtract it; None subtracts nothing.
        placement: Whether the images come before or after the question.
        query_first: See `qdebias.QDebias`.
        temperature: T of the softmax over an answer's options.
    """

    quality: tuple[Question, ...]
    same: Question | None = None
    degradations: tuple[Degradation, ...] = ()
    suits: Callable[[RgbImage, Degradation], bool] | None = None
    weigh: Callable[[Evidence], FloatArray] = by_semantics
    mean: Callable[[Readings, FloatArray], Pooled] = mean_quality
    likeness: Callable[[RgbImage, RgbImage], float] | None = None
    prior: ContentFree | None = None
    placement: Placement = "before"
    query_first: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.quality:
            raise SettingError("a method needs at least one question about quality")
        check_temperature(self.temperature)
        if self.prior is not None and any(isinstance(question, TopQuestion) for question in self.quality):
            raise SettingError("a prior is subtracted option by option, and the likeliest words are others each time")
        if self.suits is not None and self.likeness is not None:
            raise SettingError("conditions that are chosen by content cannot be weighed by their likeness too")

    @property
    def questions(self) -> tuple[Question, ...]:
        """All that is asked about one sequence of images."""
        return self.quality if self.same is None else (*self.quality, self.same)

    @property
    def requests_each(self) -> int:
        """How many requests there are for each condition."""
        return 1 if self.prior is None else 2

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Degrade the image in each way and ask about each pair, or ask about the image alone.

        `Plan.similarity` has 1 for each condition that counts and 0 for the others where they are chosen by content,
        or their likeness where that is measured.
        """
        key = context.key(image)
        made = tuple(make_condition(one, image, seed=context.seed, key=key) for one in self.degradations)
        return self.plan_under(made, self.degradations, image)

    def plan_under(
        self, conditions: tuple[Condition, ...], degradations: Sequence[Degradation], image: RgbImage
    ) -> Plan:
        """Ask about the image beside each of the conditions, which are already made, each by its degradation."""
        requests = [request for one in conditions or (None,) for request in self._requests(one, image)]
        similarity: tuple[float, ...] = ()
        if self.suits is not None:
            similarity = tuple(float(self.suits(image, one)) for one in degradations)
        if self.likeness is not None:
            similarity = tuple(self.likeness(image, one.image) for one in conditions)
        return Plan(requests=tuple(requests), conditions=conditions, similarity=similarity)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Read every answer, weigh them and average."""
        groups = [answers[start : start + self.requests_each] for start in range(0, len(answers), self.requests_each)]
        readings = joined([self._quality(group) for group in groups])
        same = np.array([self._same(group[0]) for group in groups] if self.same is not None else [])
        weight = self._weight(readings, same, np.array(plan.similarity))
        pooled = self.mean(readings, weight)
        return Score(
            value=pooled.value,
            good=np.exp(readings.high),
            same=same,
            weight=weight,
            logits=tuple(map(tuple, answers)),
            log_odds=pooled.log_odds,
        )

    def _requests(self, condition: Condition | None, image: RgbImage) -> list[Request]:
        """Return what is asked under one condition: about the image, and about the image without content."""
        asked = [(image, self.questions)]
        if self.prior is not None:
            asked.append((self.prior.image, self.quality))
        return [
            Request(images=self._shown(condition, query), questions=questions, placement=self.placement)
            for query, questions in asked
        ]

    def _shown(self, condition: Condition | None, query: RgbImage) -> tuple[RgbImage, ...]:
        return (query,) if condition is None else in_order(condition.image, query, query_first=self.query_first)

    def _weight(self, readings: Readings, same: FloatArray, similarity: FloatArray) -> FloatArray:
        """Return the (N,) weights; 0 for conditions that do not count."""
        counted = similarity > 0 if self.suits is not None else np.ones(len(readings.high), dtype=bool)
        evidence = Evidence(
            same=same[counted] if len(same) else np.zeros(counted.sum()),
            similarity=similarity[counted] if len(similarity) else similarity,
            readings=readings[counted],
        )
        weight = np.zeros(len(counted))
        weight[counted] = self.weigh(evidence) if self.degradations else equally(evidence)
        return weight

    def _quality(self, group: Answers) -> Readings:
        logits = group[0][: len(self.quality)]
        if self.prior is not None:
            logits = [without_prior(one, prior) for one, prior in zip(logits, group[1], strict=True)]
        return read_ensemble(self.quality, logits, self.temperature)

    def _same(self, answer: Sequence[FloatArray]) -> float:
        question = (self.same,) if self.same is not None else ()
        return float(np.exp(read_ensemble(question, answer[len(self.quality) :], self.temperature).high[0]))
