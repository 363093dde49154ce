"""Writing a picture to a file."""

from pathlib import Path

from matplotlib.figure import Figure

from qdebias.errors import SettingError


def save(figure: Figure, out: Path) -> None:
    """Write a figure; its format follows the suffix of `out`.

    Raises:
        SettingError: The file cannot be written, or its suffix names no format of pictures.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:
        raise SettingError(f"{out}: the picture cannot be written ({error})") from error
