"""What of a score is correlated with the human one.

A score is a probability, and where a model is sure, rounding makes different scores equal or breaks the ties of equal
ones, which moves SRCC. So SRCC and KRCC rank the *log-odds* of the score,

    log sum_i w_i Q_i - log sum_i w_i (1 - Q_i)        with the weights w_i and qualities Q_i of eq. (9),

computed from the logits without ever rounding to 0 or 1. It has the order of the exact score, as it grows with it.
For one question with the values 1 and 0 it is the difference of the two logits (at T = 1): the order that a table
made from one prompt should have. The ties that remain are ties of the logits themselves.

PLCC is of the score as it is. The literal readout computes everything as published scripts do, rounding included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import logsumexp

from qdebias.ablations import Mismatched, SimilarityWeighted
from qdebias.correlation import literal_probability
from qdebias.errors import SettingError
from qdebias.method import Method, QDebias, Score, Vanilla
from qdebias.probability import FloatArray
from qdebias.prompts import Question

Readout: TypeAlias = Literal["exact", "literal"]
"""How scores are read from logits: "exact" as above, "literal" as scripts write it, exp / (exp + exp)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is correlated.

    Attributes:
        score: For PLCC: quality in [0, 1].
        rank: For SRCC and KRCC: something in the order of the scores.
    """

    score: float
    rank: float


def read(method: Method, score: Score, readout: Readout) -> Reading:
    """Return what of a score is correlated.

    Args:
        method: What made the score. Of a class that is not known here and tells no log-odds, the score is ranked.
        score: The score.
        readout: See `Readout`.

    Raises:
        SettingError: The literal formula does not fit the method's questions.
    """
    base = method.base if isinstance(method, SimilarityWeighted | Mismatched) else method
    if readout == "literal":
        value = _literal(base, score)
        return Reading(score=value, rank=value)
    if score.log_odds is not None:
        return Reading(score=score.value, rank=score.log_odds)
    if isinstance(base, QDebias):
        quality = [request[0] for request in score.logits]
        return Reading(score=score.value, rank=log_odds(quality, base.quality, score.weight, base.temperature))
    if isinstance(base, Vanilla):
        return Reading(score=score.value, rank=log_odds(score.logits[0], base.question, score.weight, base.temperature))
    return Reading(score=score.value, rank=score.value)


def log_odds(logits: Sequence[FloatArray], question: Question, weight: FloatArray, temperature: float = 1.0) -> float:
    """Return the log-odds of a score; see the module.

    Args:
        logits: N times the (K,) logits of the quality question's options.
        question: That question.
        weight: (N,) weights of sum 1.
        temperature: T of the softmax over the options.
    """
    above = np.array(logits, dtype=np.float64)
    above = (above - above.max(axis=1, keepdims=True)) / temperature  # exact, so equal differences stay equal
    values = np.array(question.values)
    with np.errstate(divide="ignore"):
        good, poor, share = np.log(values), np.log1p(-values), np.log(weight)
    share = share - logsumexp(above, axis=1)
    return float(
        logsumexp(share + logsumexp(above + good, axis=1)) - logsumexp(share + logsumexp(above + poor, axis=1))
    )


def _literal(method: Method, score: Score) -> float:
    if isinstance(method, Vanilla):
        return float(_probabilities([request[0] for request in score.logits], method.question, method.temperature)[0])
    if not isinstance(method, QDebias):
        raise SettingError(f"the literal formula is not known for {type(method).__name__}; leave it out")
    good = _probabilities([request[0] for request in score.logits], method.quality, method.temperature)
    weight = score.weight
    if method.same is not None:
        same = _probabilities([request[1] for request in score.logits], method.same, method.temperature)
        weight = method.weigh(same)
    return float(weight @ good)


def _probabilities(logits: Sequence[FloatArray], question: Question, temperature: float) -> FloatArray:
    if question.values != (1.0, 0.0):
        raise SettingError(
            f"the literal formula is of two options with the values 1 and 0, and the question {question.text!r} has "
            f"{question.values}; leave it out"
        )
    pairs = np.array(logits)
    return literal_probability(pairs[:, 0], pairs[:, 1], temperature=temperature)
