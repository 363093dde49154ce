"""From one image to the square crops that the vision encoder sees.

Without cutting an image is one crop: the whole of it, squeezed to a square whatever its shape. With cutting it is
three to six tiles of a grid that suits its shape, and then the whole of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from qdebias.backends.mplug_owl3.release import RELEASE_240728, Grid, Release
from qdebias.errors import SettingError
from qdebias.image import RgbImage

GRIDS: tuple[Grid, ...] = ((2, 2), (1, 3), (1, 4), (3, 1), (4, 1), (2, 3), (3, 2))
"""The grids that are tried, in the official order: the first of equals wins. There is no 1 x 1 among them."""


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The crops of one image.

    Attributes:
        pixels: (n, 3, side, side) uint8: the tiles row by row, then the whole image.
        grid: How the tiles lie; None: the image is not cut, n is 1.
    """

    pixels: npt.NDArray[np.uint8]
    grid: Grid | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutMode:
    """Whether images are cut, and what the prompt says about it.

    Attributes:
        name: As the user writes it.
        tiles: Whether images are cut.
        announced: From the grids of all images of a prompt to those that its text announces.
        only: The release that the mode belongs to; None: any.
    """

    name: str
    tiles: bool
    announced: Callable[[Sequence[Grid | None]], list[Grid | None]]
    only: Release | None = None

    def crops(self, image: RgbImage, side: int) -> Crops:
        """Return the crops of an image, each `side` pixels wide and high."""
        return cut(image, side) if self.tiles else Crops(_resized(image, (1, 1), side), None)


def choose_grid(width: int, height: int, side: int) -> Grid:
    """Return the grid for an image of this size.

    Every grid is scored by 100 times how well its shape fits the image's, plus how well its size does; both as
    intersection over union of corner-aligned boxes, in float32, as officially. The official code stores the height of
    the box of the image's shape in an integer tensor and so truncates it; that decides some ties.
    """
    scores = []
    for rows, columns in GRIDS:
        wide, high = columns * side, rows * side
        shape = _overlap(wide, high, wide, int(height / width * wide))
        scores.append(np.float32(100) * shape + _overlap(wide, high, width, height))
    return GRIDS[int(np.argmax(scores))]


def cut(image: RgbImage, side: int) -> Crops:
    """Return the tiles of an image and the whole of it; both are resized without regard to the aspect."""
    grid = choose_grid(image.shape[1], image.shape[0], side)
    return Crops(np.concatenate([_resized(image, grid, side), _resized(image, (1, 1), side)]), grid)


def _overlap(width: int, height: int, other_width: int, other_height: int) -> np.float32:
    """Intersection over union of two boxes with a common corner."""
    common = np.float32(min(width, other_width)) * np.float32(min(height, other_height))
    first, second = np.float32(width * height), np.float32(other_width) * np.float32(other_height)
    return common / (first + second - common + np.float32(1e-5))


def _resized(image: RgbImage, grid: Grid, side: int) -> npt.NDArray[np.uint8]:
    """Return the tiles (rows * columns, 3, side, side) of the image resized to the grid, row by row."""
    rows, columns = grid
    resized = Image.fromarray(image).resize((columns * side, rows * side), Image.Resampling.BICUBIC)
    tiles = np.asarray(resized).reshape(rows, side, columns, side, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * columns, 3, side, side))


def _slipped(grids: Sequence[Grid | None]) -> list[Grid | None]:
    """What the processor of 240728 announces: it lists two grids an image, its own and 1 x 1, and reads one an image.

    Of two images the second is so announced as 1 x 1, two crops. The decoder takes as many crops as are announced:
    all of the first image, then the first two tiles of the second and no view of the whole.
    """
    listed: list[Grid | None] = [entry for grid in grids for entry in (grid, (1, 1))]
    return listed[: len(grids)]


OFF = CutMode(name="off", tiles=False, announced=list)
"""No cutting: what the model's authors do with several images."""

FIXED = CutMode(name="fixed", tiles=True, announced=list)
"""Cutting; every image with all its tiles. What the processor of 241101 does."""

OFFICIAL_240728 = CutMode(name="official-240728", tiles=True, announced=_slipped, only=RELEASE_240728)
"""Cutting as the processor of 240728 does it, slip included: with it the paper's script ran."""

OFFICIAL = "official"
"""Another name of one of the modes, by release."""

CUT_MODES: Mapping[str, CutMode] = MappingProxyType({mode.name: mode for mode in (OFF, FIXED, OFFICIAL_240728)})


def cut_mode(name: str, release: Release) -> CutMode:
    """Return the mode of that name; "official" is what the stock processor of the release does unless told otherwise.

    Raises:
        SettingError: There is none, or it belongs to the other release.
    """
    if name == OFFICIAL:
        return OFFICIAL_240728 if release is RELEASE_240728 else FIXED
    if name not in CUT_MODES:
        raise SettingError(f"there is no cut mode {name!r}; choose one of {', '.join([*CUT_MODES, OFFICIAL])}")
    mode = CUT_MODES[name]
    if mode.only not in (None, release):
        raise SettingError(
            f"cut mode {name!r} repeats a slip of release {mode.only.name if mode.only else ''}, which this checkpoint "
            f"({release.name}) does not have; choose 'off' or 'fixed'"
        )
    return mode
