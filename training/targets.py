"""What the synthesis says about quality; no human opinion enters."""

import numpy as np

# Quantiles 0, 5, ..., 100 % of the full-reference error over the distorted training images (worse copies left out).
ERRORS = np.array(
    (
        *(0.0, 0.017, 0.032, 0.049, 0.063, 0.079, 0.095, 0.111, 0.13, 0.149, 0.168),
        *(0.189, 0.212, 0.235, 0.264, 0.293, 0.326, 0.373, 0.426, 0.517, 1.326),
    )
)
STRONGEST = 6.0
CHOSEN = 0.6


def quality(strength: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The strength that was chosen (0.6) and the rank of the measured error (0.4); 1 is pristine.

    Args:
        strength: (n,) 0 to 6.
        error: (n,) from `fullref.error`.

    Returns:
        (n,) in [0, 1].
    """
    chosen = 1 - np.clip(strength / STRONGEST, 0, 1)
    measured = 1 - np.interp(error, ERRORS, np.linspace(0, 1, len(ERRORS)))
    return CHOSEN * chosen + (1 - CHOSEN) * measured
