"""Strengths of images from comparisons: which pairs to compare, the Bradley-Terry model, and a scale of fixed images.

The strengths of images that are compared with each other are relative to these images. A scale stays when images are
added where each image is compared with anchors alone, that are always the same: its strength then depends on the
image, the anchors, the question and the model. Compare2Score (Zhu et al., 2024) compares with fixed images too.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray, sigmoid
from qdebias.errors import SettingError

MOST_IMAGES = 3000
"""Most images that are ranked at a time: the fit solves systems of that size, again and again."""

SUREST = 20.0
"""Log-odds beyond this are taken as this: exp(-20), some 2e-9, is as good as never, and nothing rounds to 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strengths:
    """(N,) strengths of mean 0, whose differences are the log-odds that one image is better, and (N,) standard errors.

    An error is NaN where there are no more pairs than strengths, so that nothing contradicts them.
    """

    value: FloatArray
    error: FloatArray


def bradley_terry(count: int, pairs: npt.NDArray[np.intp], log_odds: FloatArray) -> Strengths:
    """Fit the Bradley-Terry model to probabilities instead of wins and losses.

    Where a model says that a is better than b with probability p, p of a win goes to a and 1 - p to b: what the model
    is unsure of moves the strengths less. The likelihood is that of the logistic model for fractions (Papke and
    Wooldridge, 1996). The standard errors (the sandwich of White, 1982) take the log-odds to be off by errors of one
    size, estimated from how far they are from what the strengths predict, as the answers of a model are no draws of a
    coin: where all are in accord, the errors are small however near the probabilities are to 0, 1/2 or 1.

    The (P, 2) pairs are places of the N = `count` images, every one connected with every other; the (P,) log-odds are
    log p - log(1 - p) that the first of the pair is better.
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
            f"no strengths fit these comparisons ({error}); compare each image with more others"
        ) from error
    value = value - value.mean()
    freedom = len(pairs) - count + 1
    if freedom < 1:
        return Strengths(value=value, error=np.full(count, np.nan))
    expected = np.clip(value[pairs[:, 0]] - value[pairs[:, 1]], -SUREST, SUREST)
    spread = sigmoid(expected) * sigmoid(-expected)
    inverse = np.linalg.inv(_laplacian(count, pairs, spread) + 1 / count)  # the mean, which the comparisons leave open
    variance = np.diag(inverse @ _laplacian(count, pairs, spread**2) @ inverse).clip(0)
    noise = np.sum((bounded - expected) ** 2) / freedom
    return Strengths(value=value, error=np.asarray(np.sqrt(noise * variance), dtype=np.float64))


def check_count(count: int) -> None:
    """Refuse more images than `MOST_IMAGES`, before anything is asked about them."""
    if count > MOST_IMAGES:
        raise SettingError(
            f"{count:,} images are too many to be ranked by comparison, {MOST_IMAGES:,} are the most; "
            f"take the better ones with qdebias filter first"
        )


def _laplacian(count: int, pairs: npt.NDArray[np.intp], weight: FloatArray) -> FloatArray:
    """Return (N, N), the sum of weight x d d^T over the pairs, d being 1 at the first image and -1 at the second."""
    total = np.zeros((count, count))
    for rows, columns, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
        np.add.at(total, (pairs[:, rows], pairs[:, columns]), sign * weight)
    return total


LEAST_ANCHORS, MOST_ANCHORS = 2, 50
"""All pairs of anchors are asked about, and each image beside all of them."""


def against(anchors: FloatArray, log_odds: FloatArray) -> tuple[float, float]:
    """Return the strength of one image on the scale of M anchors, and its standard error, NaN with one anchor.

    It is the most likely one, where p of a win goes to the image and 1 - p to the anchor, see `bradley_terry`. The
    error takes the (M,) strengths of the anchors as exact; `log_odds` are (M,) that the image is better than each.
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
    """Return pairs of places in a list of different digests of images, each pair once.

    The images stand in a ring, in an order that a hash of seed and image decides, and each is compared with its two
    neighbours; then in another ring, and so on, until each has `opponents`, rounded up to an even number (a few less
    where two rings agree). One ring connects all images, so that strengths of all follow from the pairs. As nothing
    but the hash decides an image's place, an image that is added or taken away changes only the pairs beside it: what
    was answered about the others serves again. Where all pairs are few enough, all of them are taken. Two pairs one
    after the other share an image.
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
