"""Writing a picture to a file."""

import warnings
from functools import cache
from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from qdebias.errors import SettingError
from qdebias.system.output import replacing


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
