"""From comparisons to strengths: the Bradley-Terry model, fitted by the package choix."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError

MOST = 3000
"""Most images that are ranked at a time: the fit solves systems of that size, again and again."""

SUREST = 20.0
"""Log-odds beyond this are taken as this: exp(-20), some 2e-9, is as good as never, and nothing rounds to 0."""

_STEPS = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strengths:
    """How strong each of N images is.

    Attributes:
        value: (N,) strengths of mean 0. By the model the log-odds that one image is better than another are the
            difference of their strengths.
        error: (N,) standard errors; NaN where there are no more pairs than strengths, so that nothing contradicts them.
    """

    value: FloatArray
    error: FloatArray


def bradley_terry(count: int, pairs: npt.NDArray[np.intp], log_odds: FloatArray) -> Strengths:
    """Fit the Bradley-Terry model to probabilities in the place of wins and losses.

    Where a model says that a is better than b with probability p, p of a win goes to a and 1 - p to b: what the model
    is unsure of moves the strengths less. The likelihood is that of the logistic model for fractions (Papke and
    Wooldridge, 1996). Its standard errors are scaled by how far the answers are from what the strengths predict
    (Pearson's statistic over its degrees of freedom), as the answers of a model are no draws of a coin: where all are
    in accord, the errors are small however near the probabilities are to 1/2.

    Args:
        count: N, up to `MOST`.
        pairs: (P, 2) places of the images; every image has to be connected with every other.
        log_odds: (P,) log p - log(1 - p) that the first of the pair is better.

    Raises:
        SettingError: There are too many images, or the fit does not come to an end.
    """
    import choix

    check_count(count)
    bounded = np.clip(log_odds, -SUREST, SUREST)
    wins = np.zeros((count, count))
    np.add.at(wins, (pairs[:, 0], pairs[:, 1]), sigmoid(bounded))
    np.add.at(wins, (pairs[:, 1], pairs[:, 0]), sigmoid(-bounded))
    try:
        value = np.asarray(choix.ilsr_pairwise_dense(wins, max_iter=_STEPS), dtype=np.float64)
    except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
        raise SettingError(
            f"no strengths fit these comparisons ({error}); compare each image with more others"
        ) from error
    value = value - value.mean()
    return Strengths(value=value, error=_errors(value, pairs, bounded))


def check_count(count: int) -> None:
    """Refuse more images than `MOST`, before anything is asked about them."""
    if count > MOST:
        raise SettingError(
            f"{count:,} images are too many to be ranked by comparison, {MOST:,} are the most; "
            f"take the better ones with qdebias filter first"
        )


def _errors(value: FloatArray, pairs: npt.NDArray[np.intp], log_odds: FloatArray) -> FloatArray:
    """Return the standard errors of strengths of mean 0."""
    count, freedom = len(value), len(pairs) - len(value) + 1
    if freedom < 1:
        return np.full(count, np.nan)
    expected = value[pairs[:, 0]] - value[pairs[:, 1]]
    spread = sigmoid(expected) * sigmoid(-expected)
    dispersion = np.sum((sigmoid(log_odds) - sigmoid(expected)) ** 2 / spread) / freedom
    information = np.full((count, count), 1 / count)  # the mean, which the comparisons leave open
    for rows, columns, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
        np.add.at(information, (pairs[:, rows], pairs[:, columns]), sign * spread)
    variance = np.diag(np.linalg.inv(information)) - 1 / count
    return np.asarray(np.sqrt(dispersion * variance.clip(0)), dtype=np.float64)


def sigmoid(log_odds: FloatArray) -> FloatArray:
    """Return the probabilities with these log-odds."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds)), dtype=np.float64)
