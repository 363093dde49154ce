"""Writing a picture to a file."""

from pathlib import Path

from matplotlib.figure import Figure

from qdebias.errors import SettingError
from qdebias.output import replacing


def save(figure: Figure, out: Path) -> None:
    """Write a figure; its format follows the suffix of `out`.

    Raises:
        SettingError: The file cannot be written, or its suffix names no format of pictures.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as file:
            figure.savefig(file, dpi=120, format=out.suffix.removeprefix(".") or None)
    except (OSError, ValueError) as error:
        raise SettingError(f"{out}: the picture cannot be written ({error})") from error
