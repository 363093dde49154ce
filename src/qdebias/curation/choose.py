"""Which images are kept: those from a score upwards, the best so many, or both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from qdebias.errors import SettingError
from qdebias.runs.records import GivenScore


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """How many of the best.

    Attributes:
        count: So many; None where `share` says it.
        share: This share of the images that have a score, in (0, 1], rounded up to whole images.
    """

    count: int | None = None
    share: Fraction | None = None

    @classmethod
    def parse(cls, text: str) -> "Top":
        """Return what "25" or "10%" means.

        Raises:
            SettingError: It is neither a whole number from 1 nor a share above 0 and up to 100 %.
        """
        number = text.strip()
        try:
            top = cls(share=Fraction(number[:-1]) / 100) if number.endswith("%") else cls(count=int(number))
        except (ValueError, ZeroDivisionError):
            top = cls(count=0)
        if not (top.count or 0) >= 1 and not 0 < (top.share or 0) <= 1:
            raise SettingError(f"top (--top) is a number of images such as 25, or a share such as 10%, got {text!r}")
        return top

    def of(self, images: int) -> int:
        """Return how many of so many images that is."""
        wanted = self.count if self.share is None else math.ceil(self.share * images)
        return min(wanted or 0, images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What became of each image.

    Attributes:
        kept: The best first.
        rejected: The best first.
        failed: Those that have no score, in the order in which they came; they are never kept.
    """

    kept: tuple[GivenScore, ...]
    rejected: tuple[GivenScore, ...]
    failed: tuple[GivenScore, ...]


def choose(images: Sequence[GivenScore], *, minimum: float | None = None, top: Top | None = None) -> Choice:
    """Divide images into those that are kept and those that are not.

    Where both limits are given, both have to hold. Images of equal score stand in the order of their paths, so that the
    order in which they came decides nothing, and exactly as many are kept as `top` says.

    Args:
        images: With their scores.
        minimum: Lowest score that is kept, itself included.
        top: How many of the best, counted among those that have a score.

    Raises:
        SettingError: Neither limit is given.
    """
    if minimum is None and top is None:
        raise SettingError(
            "say which images to keep: from which score upwards (minimum, --min), or how many of the "
            "best (top, --top), such as 25 or 10%"
        )
    scored = sorted((one for one in images if one.score is not None), key=lambda one: (-(one.score or 0), one.path))
    places = len(scored) if top is None else top.of(len(scored))
    least = -math.inf if minimum is None else minimum
    kept = tuple(one for one in scored[:places] if (one.score or 0) >= least)
    return Choice(
        kept=kept, rejected=tuple(scored[len(kept) :]), failed=tuple(one for one in images if one.score is None)
    )
