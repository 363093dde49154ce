"""How a quality score is made: from an image to questions, and from their answers to the score.

A method is any object that fits `Method`. It knows no model: `plan` chooses the questions and images,
`combine` turns the logits of the answers into a `Score`. Both are pure, so answers that were stored yesterday can be
combined in another way today.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from qdebias.degrade import Degradation, Fog, Saturate, Spatter, ZoomBlur, draws_noise, kind_of, noise_rng
from qdebias.equations import (
    Evidence,
    FloatArray,
    Probability,
    certainty,
    equal_weight,
    expected,
    from_log_odds,
    log_softmax,
    mean_log_odds,
    mean_of,
    mean_probability,
    semantic_weight,
)
from qdebias.errors import SettingError
from qdebias.image import RgbImage, digest
from qdebias.methods.content import ContentFree
from qdebias.methods.outline import QUERY, Asked, Outline, condition_name
from qdebias.methods.plan import Answers as Answers
from qdebias.methods.plan import Condition as Condition
from qdebias.methods.plan import Context as Context
from qdebias.methods.plan import Method as Method
from qdebias.methods.plan import Plan as Plan
from qdebias.methods.plan import Pool as Pool
from qdebias.methods.plan import Score as Score
from qdebias.methods.readouts import read_top
from qdebias.metrics.measures import literal_probability
from qdebias.prompts import Placement, Question, Request, TopQuestion

Shown = TypeVar("Shown", RgbImage, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class QDebias:
    """The method of the paper, eq. (2) to (11), and by its settings every other method here.

    P(good) under the condition that a degraded copy x'_i is poor, averaged over the copies. Without degradations it is
    the plain question about the image alone, eq. (1); see `Vanilla`.

    Attributes:
        quality: The conditional question about the second image, of eq. (8).
        ensemble: Further questions in its place; the quality of an answer is the mean over all of them.
        same: The same-object question of eq. (11); None where the weights do not need it.
        degradations: The N ways to make the conditional images x'_i; none: the questions are about the image alone.
        mismatched: Whether they are made from other images of `Context.pool` instead: experiment 8 of Table 3.
        suits: From the query image and a degradation to whether that condition counts; None: all do. Questions
            about all are asked either way, so that stored answers serve other choices.
        weigh: From the evidence of the conditions that count to their weights p(x'_i | x), eq. (10).
        distance: How different two images of one size are, 0 for the same, for `similarity_weight`, which takes 1 minus
            it. (In the paper, similarities by LPIPS "are then treated as weights", without a formula.)
        mean: From the N qualities and their weights to one quality, eq. (9).
        prior: An image without content; the logits about it are subtracted. None subtracts nothing.
        seeds: Under how many seeds s, s + 1, ... the noise is drawn: the value is the mean over them, and
            `Score.spread` their standard deviation; a degradation without noise is used once.
        contrast: a, where the score's log-odds are d(x) - a times the weighted mean of d(x'_i), and d are the log-odds
            of the quality of one image alone. None: the x'_i are shown beside the query image.
        placement: Whether the images [x'_i, x] come before or after the question.
        query_first: Whether the order is [x, x'_i] instead, so that all conditions share what a model computes about
            the query image. Not in the paper; the questions have to be worded for it.
        temperature: T of the softmax over an answer's options; 1 in the paper.
        qualities: All M questions about quality; computed.
        questions: All questions about one sequence of images; computed.
        words: The options of the questions about quality, see `Score.probabilities`; computed, and empty where these
            are not fixed.
    """

    quality: Question
    ensemble: tuple[Question, ...] = ()
    same: Question | None = None
    degradations: tuple[Degradation, ...] = (ZoomBlur(), Spatter(), Saturate(), Fog())
    mismatched: bool = False
    suits: Callable[[RgbImage, Degradation], bool] | None = None
    weigh: Callable[[Evidence], FloatArray] = semantic_weight
    distance: Callable[[RgbImage, RgbImage], float] | None = None
    mean: Callable[[Probability, FloatArray], Probability] = mean_probability
    prior: ContentFree | None = None
    seeds: int = 1
    contrast: float | None = None
    placement: Placement = "before"
    query_first: bool = False
    temperature: float = 1.0
    qualities: tuple[Question, ...] = field(init=False, repr=False, compare=False)
    questions: tuple[Question, ...] = field(init=False, repr=False, compare=False)
    words: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        qualities = (self.quality, *self.ensemble)
        likeliest = any(isinstance(question, TopQuestion) for question in qualities)
        words = [] if likeliest else [word for question in qualities for word in question.words]
        object.__setattr__(self, "qualities", qualities)
        object.__setattr__(self, "questions", qualities if self.same is None else (*qualities, self.same))
        object.__setattr__(self, "words", tuple(dict.fromkeys(words)))
        if not 1e-100 <= self.temperature <= 1e100:  # beyond, scores are 0.5 or not finite
            raise SettingError(f"the temperature must be from 1e-100 to 1e100, got {self.temperature}")
        if self.prior is not None and likeliest:
            raise SettingError("a prior is subtracted option by option, and the likeliest words are others each time")
        if self.suits is not None and self.distance is not None:
            raise SettingError("conditions that are chosen by content cannot be weighed by their likeness too")
        if self.contrast is not None and not (
            0 < self.contrast < np.inf and self.degradations and self.same is None and self.prior is None
        ):
            raise SettingError(
                "a contrast needs conditions and a share of more than 0, and goes with no same-object question and no "
                f"prior, got {self}"
            )
        if self.seeds < 1:
            raise SettingError(f"the number of seeds is 1 or more, got {self.seeds}")
        if self.seeds > 1 and (self.mismatched or not any(map(draws_noise, self.degradations))):
            raise SettingError(
                "no degradation of this method draws noise, so that every seed gives the same score; leave seeds out"
            )

    @property
    def draws(self) -> list[tuple[Degradation, int]]:
        """How each conditional image is made: the degradation, and what is added to the seed."""
        return [
            (degradation, offset)
            for degradation in self.degradations
            for offset in range(self.seeds if self.seeds > 1 and draws_noise(degradation) else 1)
        ]

    @property
    def outline(self) -> Outline:
        """The requests of a plan, with names in place of images."""
        other = " of another image" if self.mismatched else ""
        names = tuple(
            condition_name(degradation) + (f" with seed + {offset}" if offset else "") + other
            for degradation, offset in self.draws
        )
        shown = self.shown(QUERY, names, None if self.prior is None else self.prior.digest)
        return Outline(
            requests=tuple(Asked(images=one, questions=asked, placement=self.placement) for one, asked in shown),
            conditions=names,
            kinds=tuple(kind_of(degradation) for degradation, _ in self.draws),
            shared=self.distance is None and self.suits is None and not self.mismatched,
            needs_pool=self.mismatched,
        )

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Degrade the image in each way and ask about each pair, or ask about the image alone.

        Raises:
            SettingError: A degradation gives no image of the same shape, or there is no pool of other images.
        """
        key = context.key(image)
        if not self.mismatched:
            conditions = tuple(_degrade(one, image, context.seed + offset, key) for one, offset in self.draws)
        elif context.pool is None:
            raise SettingError(
                "conditions of other content need a pool of other images: give Scorer(pool=ImagePool(...)), or use "
                "qdebias compare or reproduce table3, which take them from the dataset"
            )
        else:
            rng = noise_rng(context.seed, key, "Mismatched")
            others = context.pool.draw(digest(image), len(self.degradations), rng)
            pairs = zip(self.degradations, others, strict=True)
            conditions = tuple(_degrade(one, other, context.seed, digest(other)) for one, other in pairs)
        similarity: tuple[float, ...] = ()
        if self.suits is not None:
            similarity = tuple(float(self.suits(image, degradation)) for degradation, _ in self.draws)
        if self.distance is not None:
            similarity = tuple(1.0 - self.distance(image, condition.image) for condition in conditions)
        shown = self.shown(image, [one.image for one in conditions], None if self.prior is None else self.prior.image)
        return Plan(
            requests=tuple(Request(images=one, questions=asked, placement=self.placement) for one, asked in shown),
            conditions=conditions,
            similarity=similarity,
        )

    def shown(
        self, query: Shown, conditions: Sequence[Shown], prior: Shown | None
    ) -> Iterator[tuple[tuple[Shown, ...], tuple[Question, ...]]]:
        """Yield the images, or their names, and the questions of each request of a plan; `prior` has no content."""
        if self.contrast is not None:
            yield (query,), self.questions
            for alone in conditions:
                yield (alone,), self.questions
            return
        queries = [(query, self.questions)]
        if prior is not None:
            queries.append((prior, self.qualities))
        for condition in conditions or (None,):
            for shown, questions in queries:
                if condition is None:
                    yield (shown,), questions
                else:
                    yield ((shown, condition) if self.query_first else (condition, shown)), questions

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Read every answer, weigh the conditions and average, eq. (8) to (11)."""
        asked = answers if self.prior is None else answers[::2]
        logits = [np.array([answer[number] for answer in asked], dtype=np.float64) for number in range(len(asked[0]))]
        if self.prior is not None:  # less the logits about the image without content
            for number in range(len(self.qualities)):
                logits[number] = logits[number] - np.array([answer[number] for answer in answers[1::2]])
        if self.contrast is not None:
            alone, logits = [rows[:1] for rows in logits], [rows[1:] for rows in logits]
        quality, sure = self._read(logits)
        evidence = Evidence(
            quality=quality,
            same=None if self.same is None else expected(logits[-1], self.same.values, self.temperature),
            similarity=np.array(plan.similarity),
            certainty=sure,
        )
        weight, means, draws = np.zeros(len(sure)), [], self.draws if self.seeds > 1 else []
        for offset in range(self.seeds):
            # The conditions of one seed, in the order of the degradations, as far as they count.
            rows = np.arange(len(sure))
            if draws:
                rows = np.array([draws.index((one, offset * draws_noise(one))) for one in self.degradations])
            counted = rows if self.suits is None else rows[evidence.similarity[rows] > 0]
            share = np.zeros(len(sure))
            share[counted] = self.weigh(evidence if len(counted) == len(sure) else evidence[counted])
            known = quality if len(rows) == len(sure) else quality[rows]
            if self.contrast is None:
                means.append(self.mean(known, share[rows]))
            else:
                copies = mean_log_odds(known, share[rows]).log_odds
                means.append(from_log_odds(self._read(alone)[0].log_odds - self.contrast * copies))
            weight += share / self.seeds
        mean, values = mean_of(means), np.array([float(one.p[0]) for one in means])
        probabilities, deviation = (
            self._distribution(logits, weight) if self.contrast is None else self._distribution(alone, np.ones(1))
        )
        return Score(
            value=float(mean.p[0]),
            good=quality.p,
            same=np.empty(0) if evidence.same is None else evidence.same.p,
            weight=weight,
            logits=tuple(map(tuple, answers)),
            log_odds=float(mean.log_odds[0]),
            spread=float(values.std(ddof=1)) if self.seeds > 1 else None,
            probabilities=probabilities,
            deviation=deviation,
        )

    def _read(self, logits: Sequence[FloatArray]) -> tuple[Probability, FloatArray]:
        """Return the quality by each answer, and how sure the answer is, both as means over the questions."""
        read = [
            read_top(question, rows, self.temperature)
            if isinstance(question, TopQuestion)
            else (expected(rows, question.values, self.temperature), certainty(rows, self.temperature))
            for question, rows in zip(self.qualities, logits, strict=False)
        ]
        return mean_of([quality for quality, _ in read]), np.mean([sure for _, sure in read], axis=0)

    def _distribution(self, logits: Sequence[FloatArray], weight: FloatArray) -> tuple[dict[str, float], float | None]:
        """Return `Score.probabilities` and `Score.deviation`."""
        probabilities = dict.fromkeys(self.words, 0.0)
        if not probabilities:
            return {}, None
        asked = zip(self.qualities, logits, strict=False)
        shares = np.concatenate([weight @ np.exp(log_softmax(rows, self.temperature)) for _, rows in asked])
        shares /= len(self.qualities)
        values = np.concatenate([question.values for question in self.qualities])
        for word, share in zip((word for one in self.qualities for word in one.words), shares.tolist(), strict=True):
            probabilities[word] += share
        return probabilities, float(np.sqrt(shares @ (values - shares @ values) ** 2))

    def literal(self, score: Score) -> float:
        """Return the quality as published scripts compute it, exp / (exp + exp), rounding included.

        Raises:
            SettingError: The formula does not fit this method.
        """
        if self.ensemble or self.prior is not None or self.seeds > 1 or self.contrast is not None:
            raise SettingError("the literal formula is not known for QDebias of these settings; leave it out")
        first = []  # (N,) the probability of the first option of each question
        for number, question in enumerate(self.questions):
            if question.values != (1.0, 0.0):
                raise SettingError(
                    f"the literal formula is of two options with the values 1 and 0, and the question "
                    f"{question.text!r} has {question.values}; leave it out"
                )
            pairs = np.array([request[number] for request in score.logits])
            first.append(literal_probability(pairs[:, 0], pairs[:, 1], temperature=self.temperature))
        good, weight = first[0], score.weight
        if self.same is not None:
            same, none = first[1], np.zeros(len(good))
            with np.errstate(divide="ignore"):
                known = Probability(log_p=np.log(same), log_q=np.log1p(-same))
            weight = self.weigh(Evidence(quality=known, same=known, similarity=none, certainty=none))
        return float(weight @ good)


def Vanilla(*, question: Question, placement: Placement = "before", temperature: float = 1.0) -> QDebias:  # noqa: N802
    """Return the method that asks one question about the image alone, eq. (1); for the arguments see `QDebias`."""
    return QDebias(quality=question, degradations=(), weigh=equal_weight, placement=placement, temperature=temperature)


def _degrade(degradation: Degradation, image: RgbImage, seed: int, key: str) -> Condition:
    """Degrade an image; its digest `key`, the seed and the kind of degradation decide the noise."""
    kind = kind_of(degradation)
    made = degradation(image, noise_rng(seed, key, kind))
    if made.dtype != np.uint8 or made.shape != image.shape:
        raise SettingError(
            f"the degradation {kind} gave {made.dtype} of shape {made.shape} for an image of shape {image.shape}; "
            f"it has to give uint8 of the same shape"
        )
    return Condition(kind=kind, image=made)
