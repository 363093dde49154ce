"""What of a score is correlated with the human one.

A score is a probability, and where a model is sure, rounding makes different scores equal or breaks the ties of equal
ones, which moves SRCC. So SRCC and KRCC rank the *log-odds* of the score,

    log sum_i w_i Q_i - log sum_i w_i (1 - Q_i)        with the weights w_i and qualities Q_i of eq. (9),

computed from the logits without ever rounding to 0 or 1. It has the order of the exact score, as it grows with it.
For one question with the values 1 and 0 it is the difference of the two logits (at T = 1): the order that a table
made from one prompt should have. The ties that remain are ties of the logits themselves.

PLCC is of the score as it is. The literal readout computes everything as published scripts do, rounding included.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from qdebias.errors import SettingError
from qdebias.methods.plan import Method, Score

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
        SettingError: The literal formula is not known for the method, or does not fit its questions.
    """
    if readout == "exact":
        return Reading(score=score.value, rank=score.value if score.log_odds is None else score.log_odds)
    literal = getattr(method, "literal", None)
    if literal is None:
        raise SettingError(f"the literal formula is not known for {type(method).__name__}; leave it out")
    value = float(literal(score))
    return Reading(score=value, rank=value)
