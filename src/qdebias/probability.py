"""From logits to P(option), from P(option) to one score: equations 1 and 8 to 11 of the paper.

Everything here takes arrays and returns arrays.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]


def softmax(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """Return exp(logits / temperature) normalised to sum 1 over the last axis.

    Args:
        logits: (..., K) logits, or log-probabilities: a constant added to all K cancels.
        temperature: T > 0. The paper has 1; Q-Bench's script has 100.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    grown = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True), dtype=np.float64)


def expectation(logits: FloatArray, values: FloatArray, temperature: float = 1.0) -> float:
    """Mean of the options' values under their probabilities: the readout of one question.

    With the options good and poor of values (1, 0) this is P(good), eq. (1) and (8); with yes and no it is w_i of
    eq. (11); with five levels of values (1, 0.75, 0.5, 0.25, 0) it is the readout of Q-Align.

    Args:
        logits: (K,) logits of the options.
        values: (K,) value of each option, in [0, 1].
        temperature: See `softmax`.
    """
    return float(softmax(logits, temperature) @ np.asarray(values, dtype=np.float64))


def aggregate(good: FloatArray, weight: FloatArray) -> float:
    """Mean of the N conditional qualities under the weights, eq. (9).

    Args:
        good: (N,) P(good | x, x'_i), in [0, 1].
        weight: (N,) weights p(x'_i | x) that sum to 1.

    Returns:
        Quality of x, in [0, 1]; higher is better.
    """
    return float(np.clip(weight @ good, 0.0, 1.0))


def semantic_weight(same: FloatArray) -> FloatArray:
    """Weights by how sure the model is that both images show the same object, eq. (10).

    The softmax is taken of probabilities, as the paper writes it; as those lie in [0, 1], no weight exceeds e times
    another.

    Args:
        same: (N,) P(yes) of the same-object question, w_i of eq. (11).
    """
    return softmax(same)


def equal_weight(same: FloatArray) -> FloatArray:
    """Every condition counts the same: row "Average" of Table 5."""
    return np.full(len(same), 1.0 / len(same))


def winner_weight(same: FloatArray) -> FloatArray:
    """Only the condition with the highest P(same object) counts: row "Winner-Takes-All" of Table 5.

    Ties are shared equally, so that the order of the conditions does not matter.
    """
    best = np.asarray(same == same.max(), dtype=np.float64)
    return np.asarray(best / best.sum(), dtype=np.float64)
