"""What the pictures here have in common: writing a figure, small copies of images, names as words."""

import re
import warnings
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.system.output import replacing


def words(kind: str) -> str:
    """Return "zoom blur" for "ZoomBlur"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", kind).lower()


def reduced(image: RgbImage, longest: int) -> RgbImage:
    """Return an image with its longer side at most `longest` pixels."""
    height, width = image.shape[:2]
    factor = min(1.0, longest / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def show(cell: Axes, image: RgbImage, *, longest: int) -> None:
    """Draw an image into a cell of a figure, without ticks."""
    cell.imshow(reduced(image, longest))
    cell.set(xticks=[], yticks=[])


def save(figure: Figure, out: Path) -> None:
    """Write a figure; its format follows the suffix of `out`.

    Raises:
        SettingError: The file cannot be written, or its suffix names no format of pictures.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that no font here has is drawn as boxes
            for text in figure.findobj(Text):
                text.set_parse_math(False)  # a name may hold $
                text.set_fontfamily([*text.get_fontfamily(), *_other_scripts()])
            figure.savefig(file, dpi=120, format=out.suffix.removeprefix(".") or None)
    except (OSError, ValueError) as error:
        raise SettingError(f"{out}: the picture cannot be written ({error})") from error


def check_format(out: Path) -> None:
    """Check that a picture can be written into a file of this name.

    Raises:
        SettingError: Its suffix names no format of pictures.
    """
    formats = FigureCanvasBase.get_supported_filetypes()
    if out.suffix and out.suffix[1:].lower() not in formats:
        raise SettingError(f"{out}: pictures are written as {', '.join(formats)}; choose one of these suffixes")


@cache
def _other_scripts() -> tuple[str, ...]:
    """Return the fonts of this machine that have Chinese, Japanese and Korean."""
    marks = ("CJK", "WenQuanYi", "Hiragino", "YaHei", "Malgun", "Yu Gothic", "PingFang")
    return tuple(sorted({font.name for font in fontManager.ttflist if any(mark in font.name for mark in marks)}))
