"""The parts that a method can be put together from: literal tables from words to objects.

    paper + levels5 + logodds + t100 + seeds4

A part has a kind; a method has at most one part of a kind, except for the kinds in `MANY`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from qdebias.methods.aspects import ASPECTS
from qdebias.methods.changes import (
    add,
    average_by,
    choose_by_content,
    heat,
    judge,
    leave_out,
    only,
    read_by,
    read_likeliest,
    repeat,
    subtract,
    weigh_by,
    weigh_by_lpips,
)
from qdebias.methods.draft import Draft
from qdebias.methods.pooling import (
    by_confidence,
    by_median,
    by_semantics,
    by_winner,
    equally,
    mean_log_odds,
    mean_quality,
)
from qdebias.methods.prior import blank, noise
from qdebias.methods.readouts import ENSEMBLE, GOOD_POOR, LEVELS5, NEUTRAL, WORDS
from qdebias.methods.sources import (
    CALIBRATION,
    CLIP_IQA,
    DEQA,
    IMAGENET_C,
    OPINION_POOL,
    OURS,
    PAPER,
    Q_ALIGN,
    Q_BOOST,
    SELF_CONSISTENCY,
    SEP_IQA,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One word of an expression.

    Attributes:
        kind: What it decides.
        change: Turns a draft without it into one with it. Of a part that has a number or a condition behind it, the
            first argument is that.
        summary: What it does.
        source: Where it comes from.
    """

    kind: str
    change: Callable[..., Draft]
    summary: str
    source: str

    def of(self, what: Any) -> "Part":  # noqa: ANN401 (a number, or a degradation)
        """Return the part with what stands behind it."""
        return Part(kind=self.kind, change=partial(self.change, what), summary=self.summary, source=self.source)


def _readout(words: Any, summary: str, source: str) -> Part:  # noqa: ANN401 (see `read_by`)
    return Part(kind="readout", change=partial(read_by, words), summary=summary, source=source)


def _weights(weigh: Any, summary: str, source: str) -> Part:  # noqa: ANN401 (see `weigh_by`)
    return Part(kind="weights", change=partial(weigh_by, weigh), summary=summary, source=source)


PARTS: Mapping[str, Part] = {
    "goodpoor": _readout(GOOD_POOR, "good or poor", f"{PAPER}, eq. (1) and (8)"),
    "levels5": _readout(LEVELS5, "the mean of excellent, good, fair, poor, bad as 1, .75, .5, .25, 0", Q_ALIGN),
    "words": _readout(WORDS, "several words a pole: good, high, excellent against poor, low, bad", DEQA),
    "neutral": _readout(NEUTRAL, "a neutral word: good, average, poor as 1, .5, 0", Q_BOOST),
    "ensemble": _readout(ENSEMBLE, "the mean over three questions with a neutral word each", Q_BOOST),
    "semantic": _weights(by_semantics, "P(same object), through a softmax", f"{PAPER}, eq. (10)"),
    "average": _weights(equally, "every condition counts the same", f"{PAPER}, Table 5"),
    "winner": _weights(by_winner, "only the condition most surely of the same object", f"{PAPER}, Table 5"),
    "lpips": Part(
        kind="weights",
        change=weigh_by_lpips,
        summary="1 - LPIPS of the pixels, through a softmax",
        source=f"{PAPER}, Table 5",
    ),
    "confidence": _weights(by_confidence, "how sure the answer is: 1 - entropy of the options / log K", OURS),
    "median": _weights(by_median, "only the middle condition, by its log-odds: a choice without labels", OURS),
    "probability": Part(
        kind="mean",
        change=partial(average_by, mean_quality),
        summary="the mean of the qualities",
        source=f"{PAPER}, eq. (9)",
    ),
    "logodds": Part(
        kind="mean", change=partial(average_by, mean_log_odds), summary="the mean of the log-odds", source=OPINION_POOL
    ),
    "prior-blank": Part(
        kind="prior",
        change=partial(subtract, blank),
        summary="minus the logits about a grey image in the place of the query",
        source=CALIBRATION,
    ),
    "prior-noise": Part(
        kind="prior",
        change=partial(subtract, noise),
        summary="minus the logits about an image of noise in the place of the query",
        source=CALIBRATION,
    ),
    "by-content": Part(
        kind="choice",
        change=choose_by_content,
        summary="spatter alone counts on screen content, all conditions elsewhere",
        source=f"{PAPER}, Table 1, chosen there for a whole dataset",
    ),
} | {
    name: Part(
        kind="aspect",
        change=partial(judge, aspect),
        summary=f"asks about {aspect.noun} in the place of quality",
        source=CLIP_IQA,
    )
    for name, aspect in ASPECTS.items()
}

CONDITIONS: Mapping[str, Part] = {
    "only-": Part(kind="only", change=only, summary="one condition alone", source=f"{PAPER}, Table 3"),
    "without-": Part(kind="without", change=leave_out, summary="one condition less", source=f"{PAPER}, Table 3"),
    "with-": Part(kind="with", change=add, summary="a further condition", source=IMAGENET_C),
}
"""Parts with the name of a degradation behind them: `with-jpeg`, `with-jpeg5`."""

NUMBERED: Mapping[str, Part] = {
    "topk": Part(
        kind="readout",
        change=read_likeliest,
        summary="the likeliest words, so many, each by how its meaning leans to good or bad",
        source=SEP_IQA,
    ),
    "t": Part(
        kind="temperature",
        change=heat,
        summary="T of the softmax over the options; 1 in the paper, 100 in Q-Bench's script",
        source=f"{PAPER}, eq. (8)",
    ),
    "seeds": Part(
        kind="seeds",
        change=repeat,
        summary="the mean over so many seeds of the noise, with their spread",
        source=SELF_CONSISTENCY,
    ),
}
"""Parts with a number behind them: `t100`, `seeds4`."""

KINDS = ("aspect", "only", "without", "with", "choice", "readout", "weights", "mean", "prior", "temperature", "seeds")
"""In the order in which parts are put together and written."""

MANY = ("with", "without")
"""The kinds of which there may be several parts."""
