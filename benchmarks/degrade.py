"""Time the degradations against their plain SciPy and scikit-image form, one thread each, in one run.

    python benchmarks/degrade.py                        # 1024x768
    python benchmarks/degrade.py 512x384 4000x3000      # other sizes, width x height

Only the ratios carry over to another machine. "same draws" reads numpy's RandomState, as the reference does;
"own draws" the generator that qdebias uses.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from qdebias.degrade import Fog, Saturate, Spatter, imagenet_c, noise_rng
from qdebias.image import RgbImage, digest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "degrade"))
import degrade_reference as reference

ZOOM = imagenet_c("zoom_blur", 3)
REFERENCE = {
    "zoom blur": lambda image, _: reference.zoom_blur(image, ZOOM.factors, True),
    "spatter": lambda image, rng: reference.water(image, rng, (0.65, 0.3), 2, 0.68, strength=0.5),
    "saturate": lambda image, _: reference.saturate(image, 2.0, 0.0),
    "fog": lambda image, rng: reference.fog(image, rng, 2.5, 1.5, True),
}
OURS = {"zoom blur": ZOOM, "spatter": Spatter(), "saturate": Saturate(), "fog": Fog(rescale=True)}


def photo_like(width: int, height: int) -> RgbImage:
    """Return smooth colours with detail: neither flat nor pure noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, in processor time of this process."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def measure(width: int, height: int) -> None:
    """Print the table of one size."""
    image = photo_like(width, height)
    repeats = 1 if width * height > 4_000_000 else 5
    sums, key = np.zeros(3), digest(image)
    print(f"{width}x{height}       reference   same draws          own draws      most grey levels apart")
    for name, degrade in OURS.items():
        slow = milliseconds(lambda name=name: REFERENCE[name](image, np.random.RandomState(0)), repeats)
        same = milliseconds(lambda degrade=degrade: degrade(image, np.random.RandomState(0)), 3 * repeats)
        own = milliseconds(lambda degrade=degrade: degrade(image, noise_rng(0, key, "")), 3 * repeats)
        want = REFERENCE[name](image, np.random.RandomState(0)).astype(int)
        apart = np.abs(degrade(image, np.random.RandomState(0)) - want).max()
        sums += slow, same, own
        print(f"{name:12}{line(slow, same, own)}{apart:12}")
    print(f"{'all four':12}{line(*sums)}")


def line(slow: float, same: float, own: float) -> str:
    """Return three times and two ratios, as columns."""
    return f"{slow:10.1f} ms{same:9.1f} ms{slow / same:7.1f}x{own:9.1f} ms{slow / own:7.1f}x"


if __name__ == "__main__":
    cv2.setNumThreads(1)
    for size in sys.argv[1:] or ["1024x768"]:
        measure(*map(int, size.split("x")))
