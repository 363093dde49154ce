"""Which images a report shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qdebias.equations import FloatArray
from qdebias.evaluation.bias import deserved
from qdebias.report.html.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """A few images that have something in common.

    Attributes:
        title: What.
        explanation: The same in a sentence.
        places: Which of the images of the report, the most telling first.
        captions: What stands below each.
    """

    title: str
    explanation: str
    places: tuple[int, ...]
    captions: tuple[str, ...]


def galleries_of(facts: Facts, count: int) -> list[Gallery]:
    """Return the galleries that the facts allow, each of at most `count` images and half of them all."""
    value, rank = facts.value, facts.rank
    count = min(count, max(1, len(value) // 2))
    scores = [f"score {one:.3f}" for one in value]
    found = [
        _gallery("Best", "The highest scores.", rank, scores, count),
        _gallery("Worst", "The lowest scores.", -rank, scores, count),
    ]
    if facts.before:
        change = rank - facts.rank_before
        places = [f"{_percent(one)} → {_percent(two)}" for one, two in zip(facts.rank_before, rank, strict=True)]
        words = f"Place among all images under {facts.before} → under {facts.method}; 100 % is the best image."
        found += _both_ends(
            "Raised most by debiasing", "Lowered most by debiasing", (words, words), change, places, count
        )
    if facts.human is not None:
        left = rank - deserved(rank, facts.human.quality)
        both = [f"{one}, people {human:.3g}" for one, human in zip(scores, facts.human.quality, strict=True)]
        words = "Ranked farthest {} the images of the same human score."
        sentences = words.format("above"), words.format("below")
        found += _both_ends("Too high", "Too low", sentences, left, both, count)
    return [gallery for gallery in found if gallery.places]


def _both_ends(
    above: str, below: str, sentences: tuple[str, str], key: FloatArray, captions: Sequence[str], count: int
) -> list[Gallery]:
    """Return the images with the largest and with the least key, as far as they are above and below 0."""
    return [
        _gallery(above, sentences[0], np.where(key > 0, key, np.nan), captions, count),
        _gallery(below, sentences[1], np.where(key < 0, -key, np.nan), captions, count),
    ]


def _gallery(title: str, explanation: str, key: FloatArray, captions: Sequence[str], count: int) -> Gallery:
    """Return the images with the largest key; those without one are left out."""
    places = [int(place) for place in np.argsort(-key, kind="stable")[:count] if not np.isnan(key[place])]
    return Gallery(
        title=title,
        explanation=explanation,
        places=tuple(places),
        captions=tuple(captions[place] for place in places),
    )


def _percent(rank: float) -> str:
    return "unknown" if np.isnan(rank) else f"{100 * rank:.0f} %"
