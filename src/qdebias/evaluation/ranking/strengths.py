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
    Wooldridge, 1996). The standard errors (the sandwich of White, 1982) take the log-odds to be off by errors of one
    size, estimated from how far they are from what the strengths predict, as the answers of a model are no draws of a
    coin: where all are in accord, the errors are small however near the probabilities are to 0, 1/2 or 1.

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
    expected = np.clip(value[pairs[:, 0]] - value[pairs[:, 1]], -SUREST, SUREST)
    spread = sigmoid(expected) * sigmoid(-expected)
    inverse = np.linalg.inv(_laplacian(count, pairs, spread) + 1 / count)  # the mean, which the comparisons leave open
    variance = np.diag(inverse @ _laplacian(count, pairs, spread**2) @ inverse).clip(0)
    return np.asarray(np.sqrt(np.sum((log_odds - expected) ** 2) / freedom * variance), dtype=np.float64)


def _laplacian(count: int, pairs: npt.NDArray[np.intp], weight: FloatArray) -> FloatArray:
    """Return (N, N), the sum of weight x d d^T over the pairs, d being 1 at the first image and -1 at the second."""
    total = np.zeros((count, count))
    for rows, columns, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
        np.add.at(total, (pairs[:, rows], pairs[:, columns]), sign * weight)
    return total


def sigmoid(log_odds: FloatArray) -> FloatArray:
    """Return the probabilities with these log-odds."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds)), dtype=np.float64)
