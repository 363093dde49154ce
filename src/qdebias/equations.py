"""From logits to probabilities, from probabilities to one score: equations 1, 2 and 8 to 11 of the paper.

Everything here takes arrays and returns arrays, and a probability is kept as two logarithms, so that none is rounded to
0 or 1: where a model is sure, scores that differ stay different, and SRCC can rank them by their log-odds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
Which: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probability:
    """N probabilities P."""

    log_p: FloatArray  # (N,) log P
    log_q: FloatArray  # (N,) log(1 - P)

    @property
    def p(self) -> FloatArray:
        """(N,) P, in [0, 1]; near its ends rounded."""
        return np.exp(np.minimum(self.log_p, 0.0))

    @property
    def log_odds(self) -> FloatArray:
        """(N,) log P - log(1 - P)."""
        return self.log_p - self.log_q

    def __getitem__(self, which: Which) -> "Probability":
        return Probability(log_p=self.log_p[which], log_q=self.log_q[which])


def from_log_odds(log_odds: npt.ArrayLike) -> Probability:
    """Return the probabilities with these (N,) log-odds."""
    odds = np.atleast_1d(np.asarray(log_odds, dtype=np.float64))
    return Probability(log_p=-np.logaddexp(0.0, -odds), log_q=-np.logaddexp(0.0, odds))


def sigmoid(log_odds: npt.ArrayLike) -> FloatArray:
    """Return the probabilities with these log-odds; near the ends of [0, 1] rounded."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(log_odds, dtype=np.float64))))


def log_softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Return logits / T less a constant, so that their exponentials have sum 1 over the last axis.

    Args:
        logits: (..., K) logits, or log-probabilities: a constant added to all K cancels.
        temperature: T > 0. The paper has 1; Q-Bench's script has 100.
    """
    scaled = np.asarray(logits, dtype=np.float64)
    scaled = (scaled - scaled.max(axis=-1, keepdims=True)) / temperature  # exact: equal differences stay equal
    return np.asarray(scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True))


def expected(logits: npt.ArrayLike, values: npt.ArrayLike, temperature: float = 1.0) -> Probability:
    """Mean of the options' values under their probabilities: how the answers to one question are read.

    With the options good and poor of values (1, 0) this is P(good), eq. (1) and (8); with yes and no it is w_i of
    eq. (11); with five levels of values (1, 0.75, 0.5, 0.25, 0) it is the readout of Q-Align.

    Args:
        logits: (N, K) or (K,) logits of the options.
        values: (K,) value of each option, in [0, 1].
        temperature: T > 0, see `log_softmax`.
    """
    shares, worth = np.atleast_2d(log_softmax(logits, temperature)), np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return Probability(
            log_p=np.logaddexp.reduce(shares + np.log(worth), axis=-1),
            log_q=np.logaddexp.reduce(shares + np.log1p(-worth), axis=-1),
        )


def certainty(logits: npt.ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Return how sure (N, K) answers are, (N,) in [0, 1]: 1 - entropy of the options / log K."""
    shares = np.atleast_2d(log_softmax(logits, temperature))
    negative_entropy = (np.exp(shares) * shares).sum(axis=-1)
    return np.asarray((1 + negative_entropy / np.log(shares.shape[-1])).clip(0, 1))


def mean_probability(probability: Probability, weight: FloatArray) -> Probability:
    """Mean of the N qualities P(good | x, x'_i) under (N,) weights p(x'_i | x) of sum 1: one quality, eq. (2), (9)."""
    with np.errstate(divide="ignore"):
        share = np.log(weight)
    log_p, log_q = (np.logaddexp.reduce(share + logs) for logs in (probability.log_p, probability.log_q))
    return Probability(log_p=np.atleast_1d(log_p), log_q=np.atleast_1d(log_q))


def mean_log_odds(probability: Probability, weight: FloatArray) -> Probability:
    """Return the quality whose log-odds are the weighted mean of the log-odds.

    The normalised geometric mean of the odds: a logarithmic opinion pool (Genest and Zidek, 1986). A probability
    that is near 0 or 1 moves it as far as the logits say, where the mean of probabilities hardly notices.
    """
    counted = weight > 0
    return from_log_odds(weight[counted] @ probability.log_odds[counted])


def mean_of(probabilities: Sequence[Probability]) -> Probability:
    """Return the plain mean of M times N probabilities: N of them, such as of an ensemble of M questions."""
    share = np.log(len(probabilities))
    return Probability(
        log_p=np.logaddexp.reduce([one.log_p for one in probabilities]) - share,
        log_q=np.logaddexp.reduce([one.log_q for one in probabilities]) - share,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What the weights of N conditions may be computed from."""

    quality: Probability  # P(good | x, x'_i)
    same: Probability | None  # P(yes) of the same-object question; None where it was not asked
    similarity: FloatArray  # (N,) how alike the pixels of x and x'_i are; empty where that was not measured
    certainty: FloatArray  # (N,) how sure the answers about quality are, in [0, 1]

    def __getitem__(self, which: Which) -> "Evidence":
        return Evidence(
            quality=self.quality[which],
            same=None if self.same is None else self.same[which],
            similarity=self.similarity[which] if self.similarity.size else self.similarity,
            certainty=self.certainty[which],
        )


def semantic_weight(evidence: Evidence) -> FloatArray:
    """Weights by how sure the model is that both images show the same object, eq. (10).

    The softmax is taken of probabilities, as the paper writes it; as those lie in [0, 1], no weight exceeds e times
    another.
    """
    same = np.full(len(evidence.certainty), 0.5) if evidence.same is None else evidence.same.p
    return np.asarray(np.exp(log_softmax(same)))


def equal_weight(evidence: Evidence) -> FloatArray:
    """Every condition counts the same: row "Average" of Table 5."""
    return np.full(len(evidence.certainty), 1.0 / len(evidence.certainty))


def winner_weight(evidence: Evidence) -> FloatArray:
    """Only the condition most surely of the same object counts: row "Winner-Takes-All" of Table 5.

    It is found by log-odds, so that rounding makes no tie. Real ties are shared equally, so that the order of the
    conditions does not matter.
    """
    if evidence.same is None:
        return equal_weight(evidence)
    odds = evidence.same.log_odds
    best = np.asarray(odds == odds.max(), dtype=np.float64)
    return np.asarray(best / best.sum())


def similarity_weight(evidence: Evidence) -> FloatArray:
    """Eq. (10) with the similarity of the pixels instead of w_i: row "Quality Similarity" of Table 5."""
    return np.asarray(np.exp(log_softmax(evidence.similarity)))


def certainty_weight(evidence: Evidence) -> FloatArray:
    """Weights in proportion to how sure the model is of each answer; equal where it is sure of none."""
    total = evidence.certainty.sum()
    return equal_weight(evidence) if total == 0 else np.asarray(evidence.certainty / total)


def median_weight(evidence: Evidence) -> FloatArray:
    """Only the middle condition counts, or the middle two: the choice that needs no labels.

    Without labels, all that is known of a condition is whether the others agree with it. The median is the estimate
    that up to half of them cannot spoil: a degradation that fails on this content, such as a damage that hides the
    picture, ends up at one end of the order and has no say.
    """
    order = np.argsort(evidence.quality.log_odds, kind="stable")
    weight = np.zeros(len(order))
    weight[order[(len(order) - 1) // 2]] += 0.5
    weight[order[len(order) // 2]] += 0.5
    return weight
