"""The degradations beside their plain SciPy and scikit-image form, one thread each, in one run."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from qdebias.cli.benchmark import reference
from qdebias.cli.benchmark.machine import photo_like
from qdebias.degrade import Degradation, Fog, Saturate, Spatter, ZoomBlur, imagenet_c, noise_rng
from qdebias.degrade.base import Rng
from qdebias.image import RgbImage, digest

ALL = "all four"

_ZOOM = cast(ZoomBlur, imagenet_c("zoom_blur", 3))
_REFERENCE: Mapping[str, Callable[[RgbImage, Rng], RgbImage]] = {
    "zoom blur": lambda image, _: reference.zoom_blur(image, _ZOOM.factors, original_again=True),
    "spatter": lambda image, rng: reference.water(image, rng, (0.65, 0.3), 2, 0.68, strength=0.5),
    "saturate": lambda image, _: reference.saturate(image, 2.0, 0.0),
    "fog": lambda image, rng: reference.fog(image, rng, 2.5, 1.5, rescale=True),
}
_OURS: Mapping[str, Degradation] = {
    "zoom blur": _ZOOM,
    "spatter": Spatter(),
    "saturate": Saturate(),
    "fog": Fog(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One degradation, as the released code sets it, or all four together.

    Attributes:
        name: Which.
        width: Of the image.
        height: Of the image.
        reference_ms: Processor time of the reference.
        same_draws_ms: Ours with numpy's RandomState, which gives the reference's noise.
        own_draws_ms: Ours with the generator that scoring uses.
        most_apart: Largest difference to the reference with the same draws, in grey levels.
        share_apart: Share of values that are more than one grey level apart.
    """

    name: str
    width: int
    height: int
    reference_ms: float
    same_draws_ms: float
    own_draws_ms: float
    most_apart: int
    share_apart: float

    @property
    def same_draws_speedup(self) -> float:
        """How many times as fast as the reference, with the same draws."""
        return self.reference_ms / self.same_draws_ms

    @property
    def own_draws_speedup(self) -> float:
        """How many times as fast as the reference, with our generator."""
        return self.reference_ms / self.own_draws_ms


def measure_degradations(width: int, height: int, *, repeat: int) -> Iterator[Timing]:
    """Yield a line for each degradation, then one for all four together.

    Args:
        width: Of a made-up photograph.
        height: Of the same.
        repeat: How often the reference is timed; ours three times as often. The median counts.
    """
    image, timings = photo_like(0, width, height), []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for name in _OURS:
            timings.append(_timing(name, image, repeat))
            yield timings[-1]
    finally:
        cv2.setNumThreads(threads)
    yield _together(timings)


def _timing(name: str, image: RgbImage, repeat: int) -> Timing:
    slow, ours, key = _REFERENCE[name], _OURS[name], digest(image)
    got = ours(image, np.random.RandomState(0)).astype(int)  # compiles
    apart = np.abs(got - slow(image, np.random.RandomState(0)))
    return Timing(
        name=name,
        width=image.shape[1],
        height=image.shape[0],
        reference_ms=_milliseconds(lambda: slow(image, np.random.RandomState(0)), repeat),
        same_draws_ms=_milliseconds(lambda: ours(image, np.random.RandomState(0)), 3 * repeat),
        own_draws_ms=_milliseconds(lambda: ours(image, noise_rng(0, key, name)), 3 * repeat),
        most_apart=int(apart.max()),
        share_apart=float((apart > 1).mean()),
    )


def _milliseconds(run: Callable[[], object], repeat: int) -> float:
    """Return the median processor time of a call."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def _together(timings: Sequence[Timing]) -> Timing:
    return Timing(
        name=ALL,
        width=timings[0].width,
        height=timings[0].height,
        reference_ms=sum(one.reference_ms for one in timings),
        same_draws_ms=sum(one.same_draws_ms for one in timings),
        own_draws_ms=sum(one.own_draws_ms for one in timings),
        most_apart=max(one.most_apart for one in timings),
        share_apart=statistics.fmean(one.share_apart for one in timings),
    )
