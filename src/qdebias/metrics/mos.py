"""A human score that is expected, and how far off it may be: what a calibration and a fit tell of an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError

Direction: TypeAlias = Literal["higher", "lower"]
"""Which human scores are better: a mean opinion score is "higher", a difference mean opinion score (DMOS) "lower"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A conformal interval around every mapped score: so much to either side, on the scale of the human scores."""

    level: float  # share of new images whose human score is to lie within, in (0, 1)
    half_width: float  # the ceil((n + 1) level)-th smallest of n absolute errors, left out or set aside
    coverage: float  # share of these images within, each fold or half by the half-width that the others give

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and 0 <= self.half_width < math.inf):
            raise ValueError("its interval is not valid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mos:
    """The human score that is expected of an image, with the ends of its interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@runtime_checkable
class MosScale(Protocol):
    """What tells the human score that a score stands for: a calibration, or a fit."""

    @property
    def increasing(self) -> bool:
        """False where lower human scores are better (DMOS)."""

    @property
    def interval(self) -> Interval | None:
        """The interval around every human score that is told."""

    def mos(self, score: float) -> Mos:
        """Return the human score that is expected of an image with this score, with its interval."""


def check_level(level: float, count: int) -> None:
    """Check that so many labelled images suffice for an interval."""
    if not 0 < level < 1:
        raise SettingError(f"the level of the interval lies between 0 and 1, such as 0.9, got {level:g}")
    if _place(level, count) > count:
        least = math.ceil(round(level / (1 - level), 9))  # .9 / .1 is not above 9
        raise SettingError(
            f"an interval of level {level:g} needs {least} labelled images or more, got {count}; choose a lower level"
        )


def _place(level: float, count: int) -> int:
    """Return which of `count` errors, from the smallest on, bounds the next one with a probability of `level`."""
    return math.ceil(round((count + 1) * level, 9))  # 10 * .9 is not above 9


def conformal_interval(error: FloatArray, parts: Sequence[npt.NDArray[np.intp]], level: float) -> Interval:
    """Return the interval of (N,) absolute errors of cross-validation; each fold left out one of the `parts`."""
    within = 0
    for part in parts:
        others = np.sort(np.delete(error, part))
        within += int((error[part] <= others[min(_place(level, len(others)), len(others)) - 1]).sum())
    half = float(np.sort(error)[_place(level, len(error)) - 1])
    return Interval(level=level, half_width=half, coverage=within / len(error))
