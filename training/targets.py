"""What people lose by a distortion: published mean human scores of synthetic distortions; no score of a photograph.

`LOSS` gives, for the strengths 0 to 6 of each kind in `distortions.py`, the share of the scale that is lost. It is
read off the mean scores that KADID-10k (Lin et al. 2019: 81 images, 25 kinds at 5 levels) and TID2013 (Ponomarenko et
al.: 25 images, 24 kinds at 5 levels) publish, by the parameter of each level as their authors name it. Kinds that
neither has (down_up, webp, scan_lines, vignette, shallow_focus, zoom_blur, spatter, fog, glass, ghost) are set like
their nearest kin.
"""

from collections.abc import Sequence

import numpy as np

LOSS = {
    "gaussian_blur": (0, 0.31, 0.60, 0.78, 0.85, 0.92, 0.95),
    "lens_blur": (0, 0.27, 0.57, 0.75, 0.86, 0.92, 0.95),
    "motion_blur": (0, 0.10, 0.36, 0.63, 0.78, 0.88, 0.92),
    "down_up": (0, 0.12, 0.40, 0.60, 0.77, 0.84, 0.90),
    "pixelate": (0, 0.20, 0.40, 0.50, 0.70, 0.86, 0.92),
    "painted": (0, 0.10, 0.30, 0.50, 0.68, 0.80, 0.87),
    "shallow_focus": (0, 0.02, 0.04, 0.07, 0.10, 0.13, 0.16),
    "jpeg": (0, 0.06, 0.18, 0.42, 0.67, 0.85, 0.93),
    "jpeg2000": (0, 0.01, 0.04, 0.15, 0.40, 0.66, 0.80),
    "webp": (0, 0.08, 0.22, 0.40, 0.60, 0.70, 0.70),
    "white_noise": (0, 0.12, 0.34, 0.56, 0.72, 0.82, 0.88),
    "grain": (0, 0.12, 0.34, 0.55, 0.70, 0.80, 0.87),
    "chroma_noise": (0, 0.15, 0.35, 0.50, 0.65, 0.77, 0.85),
    "impulse_noise": (0, 0.38, 0.54, 0.67, 0.78, 0.86, 0.92),
    "speckle": (0, 0.22, 0.48, 0.68, 0.80, 0.88, 0.92),
    "sharpen": (0, 0.28, 0.60, 0.76, 0.86, 0.91, 0.94),
    "contrast_down": (0, 0.06, 0.20, 0.38, 0.50, 0.65, 0.75),
    "contrast_up": (0, 0.00, 0.08, 0.25, 0.45, 0.60, 0.70),
    "darken": (0, 0.05, 0.17, 0.35, 0.55, 0.68, 0.78),
    "brighten": (0, 0.05, 0.17, 0.33, 0.53, 0.68, 0.78),
    "colour_cast": (0, 0.10, 0.20, 0.32, 0.42, 0.52, 0.60),
    "colour_offset": (0, 0.20, 0.50, 0.68, 0.75, 0.78, 0.80),
    "posterise": (0, 0.12, 0.27, 0.42, 0.56, 0.70, 0.80),
    "block_loss": (0, 0.40, 0.53, 0.65, 0.72, 0.78, 0.85),
    "scan_lines": (0, 0.10, 0.30, 0.50, 0.68, 0.80, 0.87),
    "vignette": (0, 0.05, 0.12, 0.22, 0.35, 0.48, 0.58),
    "zoom_blur": (0, 0.20, 0.42, 0.60, 0.73, 0.83, 0.88),
    "spatter": (0, 0.20, 0.35, 0.50, 0.60, 0.70, 0.75),
    "saturate": (0, 0.10, 0.20, 0.30, 0.45, 0.60, 0.75),
    "fog": (0, 0.15, 0.30, 0.45, 0.58, 0.68, 0.75),
    "glass": (0, 0.35, 0.55, 0.70, 0.82, 0.88, 0.92),
    "dither": (0, 0.08, 0.15, 0.26, 0.38, 0.50, 0.60),
    "ghost": (0, 0.20, 0.35, 0.47, 0.55, 0.62, 0.66),
}
KINDS = tuple(LOSS)
DETAIL = ("gaussian_blur", "lens_blur", "motion_blur", "down_up", "pixelate", "painted", "shallow_focus")


def quality(strengths: np.ndarray) -> np.ndarray:
    """What is left of the scale: the product of 1 - loss over the distortions of each image.

    Args:
        strengths: (n, kinds) 0 to 6, in the order of `KINDS`.

    Returns:
        (n,) in [0, 1]; 1 is pristine.
    """
    return np.prod(_kept(strengths), axis=1)


def lost(strengths: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Share of the scale, (n,), that is lost by distortions of these kinds; see `quality`."""
    return 1 - np.prod(_kept(strengths)[:, np.isin(KINDS, kinds)], axis=1)


def _kept(strengths: np.ndarray) -> np.ndarray:
    kept = [1 - np.interp(strengths[:, place], range(7), LOSS[kind]) for place, kind in enumerate(KINDS)]
    return np.array(kept).T
