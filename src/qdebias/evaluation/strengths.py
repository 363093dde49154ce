"""Strengths of images from comparisons: the choice of pairs, the Bradley-Terry model, and a scale of fixed images.

Strengths of images that are compared with each other are relative to these images. The strength of an image that is
compared only with fixed anchors, as in Compare2Score (Zhu et al., 2024), does not change when images are added.
"""

import hashlib
import math
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray, sigmoid
from qdebias.errors import SettingError

MOST_IMAGES = 3000
"""Most images that are ranked at a time: the fit repeatedly solves systems of that size."""

SUREST = 20.0
"""Log-odds are clipped to this: exp(-20), about 2e-9, is practically never, and nothing rounds to 0."""


def bradley_terry(count: int, pairs: npt.NDArray[np.intp], log_odds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit the Bradley-Terry model to probabilities instead of wins and losses.

    If a model says that a is better than b with probability p, p of a win goes to a and 1 - p to b, so uncertain
    answers move the strengths less. The likelihood is that of the logistic model for fractions (Papke and Wooldridge,
    1996). The standard errors (the sandwich of White, 1982) assume log-odds with errors of one size, estimated from the
    residuals, as the answers of a model are not coin tosses: if all answers are consistent, the errors are small, even
    for probabilities near 0, 1/2 or 1.

    Args:
        count: N, the number of images.
        pairs: (P, 2) indices of images; all images are connected by pairs.
        log_odds: (P,) log p - log(1 - p) that the first image of the pair is better.

    Returns:
        (N,) strengths of mean 0, whose differences are the log-odds that one image is better, and (N,) standard errors,
        NaN if there are no more pairs than strengths, so that nothing contradicts them.
    """
    import choix

    check_count(count)
    bounded = np.clip(log_odds, -SUREST, SUREST)
    wins = np.zeros((count, count))
    np.add.at(wins, (pairs[:, 0], pairs[:, 1]), sigmoid(bounded))
    np.add.at(wins, (pairs[:, 1], pairs[:, 0]), sigmoid(-bounded))
    try:
        value = np.asarray(choix.ilsr_pairwise_dense(wins, max_iter=2000), dtype=np.float64)
    except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
        raise SettingError(
            f"no strengths fit these comparisons ({error}); compare each image with more images"
        ) from error
    value = value - value.mean()
    freedom = len(pairs) - count + 1
    if freedom < 1:
        return value, np.full(count, np.nan)
    expected = np.clip(value[pairs[:, 0]] - value[pairs[:, 1]], -SUREST, SUREST)
    spread = sigmoid(expected) * sigmoid(-expected)
    inverse = np.linalg.inv(_laplacian(count, pairs, spread) + 1 / count)  # which fixes the mean
    variance = np.diag(inverse @ _laplacian(count, pairs, spread**2) @ inverse).clip(0)
    noise = np.sum((bounded - expected) ** 2) / freedom
    return value, np.asarray(np.sqrt(noise * variance), dtype=np.float64)


def check_count(count: int) -> None:
    """Refuse more images than `MOST_IMAGES`, before the model is called."""
    if count > MOST_IMAGES:
        raise SettingError(
            f"{count:,} images are too many for a ranking by comparison, the limit is {MOST_IMAGES:,}; "
            f"select the better ones with qdebias filter first"
        )


def _laplacian(count: int, pairs: npt.NDArray[np.intp], weight: FloatArray) -> FloatArray:
    """Return (N, N), the sum of weight x d d^T over the pairs, d being 1 at the first image and -1 at the second."""
    total = np.zeros((count, count))
    for rows, columns, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
        np.add.at(total, (pairs[:, rows], pairs[:, columns]), sign * weight)
    return total


LEAST_ANCHORS, MOST_ANCHORS = 2, 50
"""The model is asked about all pairs of anchors, and about each image with each anchor."""


def against(anchors: FloatArray, log_odds: FloatArray) -> tuple[float, float]:
    """Return the strength of one image on the scale of M anchors, and its standard error, NaN with one anchor.

    It is the maximum-likelihood estimate, see `bradley_terry`. The error treats the (M,) strengths of the anchors as
    exact; `log_odds` are (M,) that the image is better than each anchor.
    """
    from scipy.optimize import brentq

    bounded = np.clip(log_odds, -SUREST, SUREST)
    wins = sigmoid(bounded)
    ends = anchors.min() - SUREST - 1, anchors.max() + SUREST + 1
    value = float(brentq(lambda strength: float((wins - sigmoid(strength - anchors)).sum()), *ends, xtol=1e-12))
    if len(anchors) < LEAST_ANCHORS:
        return value, math.nan
    expected = np.clip(value - anchors, -SUREST, SUREST)
    spread = sigmoid(expected) * sigmoid(-expected)
    noise = float(((bounded - expected) ** 2).sum()) / (len(anchors) - 1)
    return value, math.sqrt(noise * float((spread**2).sum())) / float(spread.sum())


def rings(images: Sequence[str], *, opponents: int, seed: int) -> list[tuple[int, int]]:
    """Return pairs of indices of images, which are given by different digests; each pair once.

    The images form a ring, ordered by a hash of seed and image, and each is compared with its two neighbours; then
    another ring, and so on, until each image has `opponents`, rounded up to an even number (a few less if two rings
    share pairs). One ring connects all images, so all strengths follow from the pairs. As only the hash decides the
    order, adding or removing an image changes only the pairs next to it, and stored answers about the others are used
    again. If there are few enough pairs, all are taken. Consecutive pairs share an image.
    """
    if opponents < 1:
        raise SettingError(f"each image needs at least one opponent, got {opponents}")
    count, many = len(images), -(-opponents // 2)
    if count - 1 <= 2 * many:
        return list(combinations(range(count), 2))
    found: dict[frozenset[int], tuple[int, int]] = {}
    for ring in range(many):
        hashes = [hashlib.blake2b(f"{seed}\0{ring}\0{image}".encode(), digest_size=16).digest() for image in images]
        order = sorted(range(count), key=hashes.__getitem__)
        for pair in pairwise([*order, order[0]]):
            found.setdefault(frozenset(pair), pair)
    return list(found.values())
