"""What is correlated when a score is read from the logits of two options.

P(good) grows with the difference of the two logits at every temperature, so the difference is what should be ranked:
logits in bfloat16 tie often, and the rounding of an exponential breaks such ties at random, which moves SRCC by up
to 0.003. The quotient of exponentials as published scripts write it is here too, for the comparison with their
tables.
"""

import math

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError

FloatArray = npt.NDArray[np.float64]


def literal_probability(good: npt.ArrayLike, poor: npt.ArrayLike, *, temperature: float) -> FloatArray:
    """Return exp(good / T) / (exp(good / T) + exp(poor / T)), rounded as a script that writes just this rounds it.

    The exponential is the C library's, one number at a time: NumPy's vectorised one rounds the last bit differently
    and so breaks other ties. With this one, T = 100 gives every cell of Q-Bench's published table.

    Args:
        good: (N,) logits of the better option.
        poor: (N,) logits of the other.
        temperature: T > 0. Q-Bench's script has 100; PLCC depends on it strongly.

    Raises:
        SettingError: T is not positive, or an exponential overflows: this formula has no guard against it.
    """
    if not temperature > 0:
        raise SettingError(f"temperature must be positive, got {temperature}")
    pairs = np.stack([np.asarray(good, dtype=np.float64), np.asarray(poor, dtype=np.float64)], axis=-1) / temperature
    try:
        exponentials = np.array([[math.exp(value) for value in pair] for pair in pairs.tolist()]).reshape(-1, 2)
    except OverflowError as error:
        raise SettingError(
            f"a logit of {pairs.max() * temperature:g} is too large for the literal formula at temperature "
            f"{temperature:g}; use qdebias.equations.softmax"
        ) from error
    return np.asarray(exponentials[:, 0] / exponentials.sum(axis=1), dtype=np.float64)
