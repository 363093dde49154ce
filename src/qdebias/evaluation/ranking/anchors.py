"""A scale that stays when images are added: strengths against images that are always the same.

The anchors are compared with each other, and their strengths, of mean 0, are the scale. Each image is then compared
with every anchor and with nothing else, so that its strength depends on the image, the anchors, the question and the
model alone: strengths of two runs can be compared. Compare2Score (Zhu et al., 2024) compares with fixed images too; the
model of the answers is that of `bradley_terry`.
"""

import math

import numpy as np

from qdebias.equations import FloatArray
from qdebias.evaluation.ranking.strengths import SUREST, Strengths, sigmoid

LEAST = 2
"""Fewest anchors."""

MOST = 50
"""Most anchors: all pairs of them are asked about, and each image beside all of them."""


def against(anchors: FloatArray, log_odds: FloatArray) -> tuple[float, float]:
    """Return the strength of one image, and its standard error, from its comparisons with anchors.

    It is the most likely one, where p of a win goes to the image and 1 - p to the anchor, see `bradley_terry`. The
    error takes the anchors' strengths as exact.

    Args:
        anchors: (M,) strengths of the anchors that it was compared with.
        log_odds: (M,) log p - log(1 - p) that the image is better than each.

    Returns:
        The strength on the scale of the anchors, and its standard error; that is NaN with one anchor.
    """
    from scipy.optimize import brentq

    bounded = np.clip(log_odds, -SUREST, SUREST)
    wins = sigmoid(bounded)
    ends = anchors.min() - SUREST - 1, anchors.max() + SUREST + 1
    value = float(brentq(lambda strength: float((wins - sigmoid(strength - anchors)).sum()), *ends, xtol=1e-12))
    if len(anchors) < LEAST:
        return value, math.nan
    expected = np.clip(value - anchors, -SUREST, SUREST)
    spread = sigmoid(expected) * sigmoid(-expected)
    noise = float(((bounded - expected) ** 2).sum()) / (len(anchors) - 1)
    return value, math.sqrt(noise * float((spread**2).sum())) / float(spread.sum())


def strengths_against(anchors: FloatArray, log_odds: FloatArray) -> Strengths:
    """Return the strengths of N images from (N, M) comparisons with M anchors; NaN where one was not asked about."""
    found = [
        against(anchors[known], row[known]) if (known := np.isfinite(row)).any() else (math.nan, math.nan)
        for row in log_odds
    ]
    value, error = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return Strengths(value=value, error=error)
