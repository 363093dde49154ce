"""Self-consistency: the same method under several seeds of the noise, and how far the scores lie apart."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np

from qdebias.degrade import Degradation
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.method import Answers, Context, Plan, Score, make_condition
from qdebias.methods.composed import Composed
from qdebias.methods.pooling import mean_quality
from qdebias.methods.reading import Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A conditional image of a method under several seeds.

    Attributes:
        degradation: How it is made.
        offset: What is added to the seed.
    """

    degradation: Degradation
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverSeeds:
    """The mean score of a method under the seeds s, s + 1, ..., s + count - 1; `Score.spread` tells how they differ.

    After the self-consistency of language models (Wang et al., 2022), with the noise of the degradations in the place
    of sampled reasoning. A degradation that draws no noise is asked about once and serves every seed.

    Attributes:
        base: The method; at least one of its degradations draws noise.
        count: How many seeds, 2 or more.
    """

    base: Composed
    count: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise SettingError(f"several seeds are 2 or more, got {self.count}")
        if not any(map(draws_noise, self.base.degradations)):
            raise SettingError(
                "no degradation of this method draws noise, so that every seed gives the same score; leave seeds out"
            )

    @property
    def draws(self) -> tuple[Draw, ...]:
        """What is asked about, in the order of the plan."""
        return tuple(
            Draw(degradation=degradation, offset=offset)
            for degradation in self.base.degradations
            for offset in range(self.count if draws_noise(degradation) else 1)
        )

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Ask what the base method asks, under every seed."""
        key = context.key(image)
        made = tuple(
            make_condition(one.degradation, image, seed=context.seed + one.offset, key=key) for one in self.draws
        )
        return self.base.plan_under(made, [one.degradation for one in self.draws], image)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Combine as the base method does, seed by seed, and average."""
        rows = [self._rows(offset) for offset in range(self.count)]
        scores = [self._score(plan, answers, row) for row in rows]
        good, same, weight = (np.zeros(len(self.draws)) for _ in range(3))
        for row, score in zip(rows, scores, strict=True):
            good[row] = score.good
            weight[row] += score.weight / self.count
            if len(score.same):
                same[row] = score.same
        values = np.array([score.value for score in scores])
        return Score(
            value=float(values.mean()),
            good=good,
            same=same if self.base.same is not None else np.empty(0),
            weight=weight,
            logits=tuple(map(tuple, answers)),
            log_odds=_mean_of(scores),
            spread=float(values.std(ddof=1)),
        )

    def _rows(self, offset: int) -> list[int]:
        """Return which draws the base method has under one seed, in the order of its degradations."""
        wanted = [(one, offset if draws_noise(one) else 0) for one in self.base.degradations]
        draws = [(draw.degradation, draw.offset) for draw in self.draws]
        return [draws.index(one) for one in wanted]

    def _score(self, plan: Plan, answers: Answers, row: list[int]) -> Score:
        similarity = tuple(plan.similarity[index] for index in row) if plan.similarity else ()
        each = self.base.requests_each
        asked = [answer for index in row for answer in answers[index * each : (index + 1) * each]]
        return self.base.combine(replace(plan, similarity=similarity), asked)


def _mean_of(scores: list[Score]) -> float:
    """Return the log-odds of the mean value."""
    odds = np.array([score.log_odds for score in scores])
    readings = Readings(high=-np.logaddexp(0, -odds), low=-np.logaddexp(0, odds), certainty=np.ones(len(odds)))
    return mean_quality(readings, np.full(len(odds), 1 / len(odds))).log_odds


def draws_noise(degradation: Degradation) -> bool:
    """Return whether a degradation draws from its source of noise, by letting it degrade a small grey picture."""
    return _known(degradation) if isinstance(degradation, Hashable) else _tried(degradation)


@lru_cache(maxsize=256)
def _known(degradation: Hashable) -> bool:
    return _tried(cast(Degradation, degradation))


def _tried(degradation: Degradation) -> bool:
    noise = np.random.Generator(np.random.SFC64(0))
    before = repr(noise.bit_generator.state)
    degradation(np.full((48, 48, 3), 128, np.uint8), noise)
    return repr(noise.bit_generator.state) != before
