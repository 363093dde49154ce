"""How N conditional qualities become one: with which weights, and as a mean of what."""

from dataclasses import dataclass

import numpy as np

from qdebias.methods.reading import Readings, log_sum
from qdebias.probability import FloatArray, equal_weight, semantic_weight, winner_weight


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What weights may be made from.

    Attributes:
        same: (N,) P(yes) of the same-object question; N zeros where it was not asked.
        similarity: (N,) what the method measured on the pixels, see `Plan.similarity`; empty where nothing.
        readings: The N answers to the quality question.
    """

    same: FloatArray
    similarity: FloatArray
    readings: Readings


def by_semantics(evidence: Evidence) -> FloatArray:
    """Weights of the paper, eq. (10): how sure the model is that both images show the same object."""
    return semantic_weight(evidence.same)


def equally(evidence: Evidence) -> FloatArray:
    """Every condition counts the same: row "Average" of the paper's Table 5."""
    return equal_weight(evidence.same)


def by_winner(evidence: Evidence) -> FloatArray:
    """Only the condition most surely of the same object counts: row "Winner-Takes-All" of Table 5."""
    return winner_weight(evidence.same)


def by_likeness(evidence: Evidence) -> FloatArray:
    """Eq. (10) with the likeness of the pixels in the place of w_i: row "Quality Similarity" of Table 5."""
    return semantic_weight(evidence.similarity)


def by_confidence(evidence: Evidence) -> FloatArray:
    """Weights in proportion to how sure the model is of each answer; equal where it is sure of none."""
    certainty = evidence.readings.certainty
    return equal_weight(certainty) if certainty.sum() == 0 else np.asarray(certainty / certainty.sum())


def by_median(evidence: Evidence) -> FloatArray:
    """Only the middle condition counts, or the middle two: the choice that needs no labels.

    Without labels, all that is known of a condition is whether the others agree with it. The median is the estimate
    that up to half of them cannot spoil: a degradation that fails on this content, such as a fog that whitens the
    picture, ends up at one end of the order and has no say.
    """
    order = np.argsort(evidence.readings.odds, kind="stable")
    weight = np.zeros(len(order))
    weight[order[(len(order) - 1) // 2]] += 0.5
    weight[order[len(order) // 2]] += 0.5
    return weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """One quality.

    Attributes:
        value: In [0, 1].
        log_odds: The same as log-odds, never rounded to 0 or 1.
    """

    value: float
    log_odds: float


def mean_quality(readings: Readings, weight: FloatArray) -> Pooled:
    """Return the weighted mean of the qualities, eq. (9)."""
    with np.errstate(divide="ignore"):
        share = np.log(weight)
    log_odds = log_sum(share + readings.high) - log_sum(share + readings.low)
    return Pooled(value=float(np.clip(weight @ np.exp(readings.high), 0.0, 1.0)), log_odds=log_odds)


def mean_log_odds(readings: Readings, weight: FloatArray) -> Pooled:
    """Return the quality whose log-odds are the weighted mean of the log-odds.

    The normalised geometric mean of the odds: a logarithmic opinion pool (Genest and Zidek, 1986). A probability
    that is near 0 or 1 moves it as far as the logits say, where the mean of probabilities hardly notices.
    """
    counted = weight > 0
    log_odds = float(weight[counted] @ readings.odds[counted])
    return Pooled(value=sigmoid(log_odds), log_odds=log_odds)


def sigmoid(log_odds: float) -> float:
    """Return the probability with these log-odds."""
    return float(np.exp(-np.logaddexp(0.0, -log_odds)))
