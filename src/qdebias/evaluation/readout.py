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

from qdebias.equations import Evidence, FloatArray, Probability
from qdebias.errors import SettingError
from qdebias.methods.method import Method, QDebias, Score
from qdebias.metrics.measures import literal_probability
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

    Raises:
        SettingError: The literal formula does not fit the method's questions.
    """
    if readout == "literal":
        value = _literal(method, score)
        return Reading(score=value, rank=value)
    return Reading(score=score.value, rank=score.value if score.log_odds is None else score.log_odds)


def _literal(method: Method, score: Score) -> float:
    if not isinstance(method, QDebias) or method.ensemble or method.prior is not None or method.seeds > 1:
        raise SettingError(
            f"the literal formula is not known for {type(method).__name__} of these settings; leave it out"
        )
    good = _probabilities([request[0] for request in score.logits], method.quality, method.temperature)
    weight = score.weight
    if method.same is not None:
        same = _probabilities([request[1] for request in score.logits], method.same, method.temperature)
        with np.errstate(divide="ignore"):
            known = Probability(log_p=np.log(same), log_q=np.log1p(-same))
        none = np.zeros(len(good))
        weight = method.weigh(Evidence(quality=known, same=known, similarity=none, certainty=none))
    return float(weight @ good)


def _probabilities(logits: Sequence[FloatArray], question: Question, temperature: float) -> FloatArray:
    if question.values != (1.0, 0.0):
        raise SettingError(
            f"the literal formula is of two options with the values 1 and 0, and the question {question.text!r} has "
            f"{question.values}; leave it out"
        )
    pairs = np.array(logits)
    return literal_probability(pairs[:, 0], pairs[:, 1], temperature=temperature)
