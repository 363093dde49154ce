"""From the logits of answers to qualities, kept as logarithms so that nothing rounds to 0 or 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.errors import BackendError
from qdebias.probability import FloatArray
from qdebias.prompts import Question, TopQuestion


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readings:
    """What N answers say about one image.

    Attributes:
        high: (N,) log Q of the quality Q in [0, 1].
        low: (N,) log(1 - Q).
        certainty: (N,) in [0, 1]: 1 where one option has all the probability, 0 where all have the same. One minus
            the entropy of the options over its largest value, log K.
    """

    high: FloatArray
    low: FloatArray
    certainty: FloatArray

    @property
    def odds(self) -> FloatArray:
        """(N,) log-odds log Q - log(1 - Q)."""
        return self.high - self.low

    def __getitem__(self, which: npt.NDArray[np.bool_]) -> "Readings":
        """Return some of the readings, by an (N,) mask."""
        return Readings(high=self.high[which], low=self.low[which], certainty=self.certainty[which])


def read(question: Question, logits: FloatArray, temperature: float) -> Readings:
    """Return the quality that one answer means: sum(softmax(logits / T) * values), eq. (1) and (8).

    Args:
        question: What was asked.
        logits: (K,) of its options; (3 k,) for a `TopQuestion`.
        temperature: T of the softmax.
    """
    if isinstance(question, TopQuestion):
        return _read_top(question, logits, temperature)
    scaled = np.asarray(logits, dtype=np.float64)
    scaled = (scaled - scaled.max()) / temperature  # exact, so that equal differences stay equal
    values = np.asarray(question.values, dtype=np.float64)
    whole = log_sum(scaled)
    with np.errstate(divide="ignore"):
        high, low = log_sum(scaled + np.log(values)), log_sum(scaled + np.log1p(-values))
    shares = scaled - whole
    entropy = -float(np.exp(shares) @ shares)
    return Readings(
        high=np.array([high - whole]),
        low=np.array([low - whole]),
        certainty=np.array([1 - entropy / np.log(len(values))]).clip(0, 1),
    )


def _read_top(question: TopQuestion, answer: FloatArray, temperature: float) -> Readings:
    """Return the quality whose log-odds are the mean over the likeliest words of logit times cosine, over T.

    SeP-IQA takes the sum, which has no bounds; the mean of a hundred words lies where the sigmoid is nearly straight.
    """
    if answer.size != 3 * question.top:
        raise BackendError(
            f"the question {question.text!r} is read from the {question.top} likeliest words, and the answer has "
            f"{answer.size} numbers; ask through qdebias.backends.top.TopReader, or name the method by its text"
        )
    _, logits, cosine = np.asarray(answer, dtype=np.float64).reshape(3, -1)
    odds = float(logits @ cosine) / question.top / temperature
    shares = (logits - logits.max()) / temperature
    shares = shares - log_sum(shares)
    return Readings(
        high=np.array([-np.logaddexp(0, -odds)]),
        low=np.array([-np.logaddexp(0, odds)]),
        certainty=np.array([1 + float(np.exp(shares) @ shares) / np.log(question.top)]).clip(0, 1),
    )


def read_ensemble(questions: Sequence[Question], answer: Sequence[FloatArray], temperature: float) -> Readings:
    """Return the mean quality over several questions about the same images.

    Args:
        questions: M questions.
        answer: The logits of each.
        temperature: T of the softmax.
    """
    each = [read(question, logits, temperature) for question, logits in zip(questions, answer, strict=True)]
    share = np.log(len(each))
    return Readings(
        high=np.array([log_sum(np.concatenate([one.high for one in each])) - share]),
        low=np.array([log_sum(np.concatenate([one.low for one in each])) - share]),
        certainty=np.mean([one.certainty for one in each], axis=0),
    )


def joined(readings: Sequence[Readings]) -> Readings:
    """Return several readings as one of all their answers, in order."""
    return Readings(
        high=np.concatenate([one.high for one in readings]),
        low=np.concatenate([one.low for one in readings]),
        certainty=np.concatenate([one.certainty for one in readings]),
    )


def log_sum(logs: FloatArray) -> float:
    """Return log(sum(exp(logs))); -inf where all are."""
    return float(np.logaddexp.reduce(logs))
