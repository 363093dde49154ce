"""The parts that a method can be put together from: one table from words to objects.

    paper + levels5 + logodds + t100 + seeds4

A part is a function from a draft to a draft with a kind; a method has at most one part of a kind, except for the kinds
in `MANY`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from qdebias.degrade import Degradation, Spatter, kind_of
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.aspects import ASPECTS, Aspect
from qdebias.methods.content import suits
from qdebias.methods.draft import ASKING, Draft, Likeness
from qdebias.methods.pooling import (
    Evidence,
    Pooled,
    by_confidence,
    by_likeness,
    by_median,
    by_semantics,
    by_winner,
    equally,
    mean_log_odds,
    mean_quality,
)
from qdebias.methods.prior import ContentFree, blank, noise
from qdebias.methods.reading import Readings
from qdebias.methods.readouts import ENSEMBLE, GOOD_POOR, LEVELS5, NEUTRAL, WORDS, Likeliest, read_as
from qdebias.probability import FloatArray
from qdebias.prompts import Question
from qdebias.rivals.lpips import Lpips


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One word of an expression.

    Attributes:
        kind: What it decides.
        change: Turns a draft without it into one with it.
        summary: What it does, and where it comes from.
    """

    kind: str
    change: Callable[[Draft], Draft]
    summary: str


def _read(readout: Sequence[Callable[[Question], Question]], draft: Draft) -> Draft:
    questions = tuple(asked for question in draft.method.quality for asked in read_as(readout, question))
    return replace(draft, method=replace(draft.method, quality=questions))


def _judge(aspect: Aspect, draft: Draft) -> Draft:
    method = replace(draft.method, quality=tuple(map(aspect, draft.method.quality)))
    if method.degradations and not draft.settled:
        method = replace(method, degradations=aspect.degradations)
    return replace(draft, method=method)


def _suit(draft: Draft) -> Draft:
    if not any(isinstance(one, Spatter) for one in draft.method.degradations):
        raise SettingError("on screen content spatter alone counts, and this method has no spatter")
    return replace(draft, method=replace(draft.method, suits=suits))


def _subtract(make: Callable[[], RgbImage], draft: Draft) -> Draft:
    return replace(draft, method=replace(draft.method, prior=ContentFree(make=make)))


def _read_likeliest(top: float, draft: Draft) -> Draft:
    if top != int(top):
        raise SettingError(f"the number of words is a whole number, got {top:g}")
    return _read((Likeliest(top=int(top)),), draft)


def _weigh(weigh: Callable[[Evidence], FloatArray], draft: Draft) -> Draft:
    _check_conditions(draft, "weights")
    if weigh in ASKING and draft.method.same is None:
        raise SettingError("these weights need the same-object question, and this method has none")
    return replace(draft, method=replace(draft.method, weigh=weigh, likeness=None))


def _weigh_by_lpips(draft: Draft) -> Draft:
    _check_conditions(draft, "weights")
    return replace(draft, method=replace(draft.method, weigh=by_likeness, likeness=Likeness(distance=Lpips())))


def _mean(mean: Callable[[Readings, FloatArray], Pooled], draft: Draft) -> Draft:
    _check_conditions(draft, "a mean")
    return replace(draft, method=replace(draft.method, mean=mean))


def _only(degradation: Degradation, draft: Draft) -> Draft:
    _check_conditions(draft, "a choice of conditions")
    return replace(draft, method=replace(draft.method, degradations=(degradation,)))


def _with(degradation: Degradation, draft: Draft) -> Draft:
    _check_conditions(draft, "further conditions")
    present = draft.method.degradations
    if kind_of(degradation) in map(kind_of, present):
        raise SettingError("the method has a condition of this kind already")
    return replace(draft, method=replace(draft.method, degradations=(*present, degradation)))


def _without(degradation: Degradation, draft: Draft) -> Draft:
    present = draft.method.degradations
    kept = tuple(one for one in present if kind_of(one) != kind_of(degradation))
    if kept == present or not kept:
        raise SettingError("no condition would be left" if present and not kept else "there is no such condition")
    return replace(draft, method=replace(draft.method, degradations=kept))


def _temperature(value: float, draft: Draft) -> Draft:
    return replace(draft, method=replace(draft.method, temperature=value))


def _seeds(count: float, draft: Draft) -> Draft:
    if count != int(count) or count < 1:
        raise SettingError(f"the number of seeds is a whole number from 1 on, got {count:g}")
    return replace(draft, seeds=int(count))


def _check_conditions(draft: Draft, what: str) -> None:
    if not draft.method.degradations:
        raise SettingError(f"{what} need conditions, and this method asks about the image alone")


PARTS: Mapping[str, Part] = {
    name: Part(
        kind="aspect", change=partial(_judge, aspect), summary=f"asks about {aspect.noun} in the place of quality"
    )
    for name, aspect in ASPECTS.items()
} | {
    "by-content": Part(
        kind="choice", change=_suit, summary="spatter alone on screen content, all conditions elsewhere; after Table 1"
    ),
    "prior-blank": Part(
        kind="prior",
        change=partial(_subtract, blank),
        summary="minus the logits about a grey image: contextual calibration (Zhao et al., 2021)",
    ),
    "prior-noise": Part(
        kind="prior",
        change=partial(_subtract, noise),
        summary="minus the logits about an image of noise: contextual calibration (Zhao et al., 2021)",
    ),
    "goodpoor": Part(kind="readout", change=partial(_read, GOOD_POOR), summary="good or poor; the paper, eq. (1), (8)"),
    "levels5": Part(
        kind="readout",
        change=partial(_read, LEVELS5),
        summary="mean of excellent, good, fair, poor, bad as 1, .75, .5, .25, 0; Q-Align (Wu et al., 2023)",
    ),
    "words": Part(
        kind="readout",
        change=partial(_read, WORDS),
        summary="good, great, excellent against poor, bad, terrible: several words a pole; after DeQA-Score's advice",
    ),
    "neutral": Part(
        kind="readout",
        change=partial(_read, NEUTRAL),
        summary="good, average, poor as 1, .5, 0: a neutral word; after Q-Boost (Zhang et al., 2023)",
    ),
    "ensemble": Part(
        kind="readout",
        change=partial(_read, ENSEMBLE),
        summary="the mean over three questions with a neutral word each; after Q-Boost (Zhang et al., 2023)",
    ),
    "semantic": Part(
        kind="weights", change=partial(_weigh, by_semantics), summary="P(same object); the paper, eq. (10)"
    ),
    "average": Part(
        kind="weights", change=partial(_weigh, equally), summary="every condition counts the same; the paper, Table 5"
    ),
    "winner": Part(
        kind="weights",
        change=partial(_weigh, by_winner),
        summary="the condition most surely of the same object; the paper, Table 5",
    ),
    "lpips": Part(
        kind="weights", change=_weigh_by_lpips, summary="likeness of the pixels, 1 - LPIPS; the paper, Table 5"
    ),
    "confidence": Part(
        kind="weights",
        change=partial(_weigh, by_confidence),
        summary="how sure the answer is: 1 - entropy of the options / log K; ours",
    ),
    "median": Part(
        kind="weights",
        change=partial(_weigh, by_median),
        summary="the middle condition, in the order of their log-odds: a choice without labels; ours",
    ),
    "probability": Part(
        kind="mean", change=partial(_mean, mean_quality), summary="mean of the qualities; the paper, eq. (9)"
    ),
    "logodds": Part(
        kind="mean",
        change=partial(_mean, mean_log_odds),
        summary="mean of the log-odds: a logarithmic opinion pool (Genest and Zidek, 1986)",
    ),
}

CONDITIONS: Mapping[str, tuple[str, Callable[[Degradation, Draft], Draft], str]] = {
    "only-": ("only", _only, "one condition alone; the paper, Table 3"),
    "with-": ("with", _with, "a further condition"),
    "without-": ("without", _without, "one condition less; the paper, Table 3"),
}
"""Parts with the name of a degradation behind them: `with-jpeg`, `with-jpeg5`. Prefix: kind, change, summary."""

NUMBERED: Mapping[str, tuple[str, Callable[[float, Draft], Draft], str]] = {
    "topk": (
        "readout",
        _read_likeliest,
        "so many likeliest words, each by how its meaning leans to good or bad: SeP-IQA, which takes 100",
    ),
    "t": ("temperature", _temperature, "T of the softmax over the options; the paper has 1, Q-Bench's script 100"),
    "seeds": ("seeds", _seeds, "the mean over so many seeds of the noise, and their spread; self-consistency"),
}
"""Parts with a number behind them: `t100`, `seeds4`. Prefix: kind, change, summary."""

KINDS = ("aspect", "only", "without", "with", "choice", "readout", "weights", "mean", "prior", "temperature", "seeds")
"""In the order in which parts are put together and written."""

MANY = ("with", "without")
"""The kinds of which there may be several parts."""
