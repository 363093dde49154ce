"""The picture of docs/method.md: an image and its conditions, under `paper` and with the fog of eq. (7) as printed.

`python tools/conditions_picture.py` writes docs/conditions.jpg; a test holds that file to what is drawn here.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qdebias import load_image, presets
from qdebias.image import RgbImage
from qdebias.methods.method import Context

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "examples" / "photos" / "fig.jpg"
PICTURE = ROOT / "docs" / "conditions.jpg"

COLUMNS = ("the image", "zoom blur", "spatter", "saturation", "fog")


def draw() -> Figure:
    """Return the picture: a row for each of both methods."""
    image = load_image(PHOTO)
    figure = Figure(figsize=(15, 4.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(COLUMNS))
    for row, name in zip(axes, ("paper", "paper-eq7"), strict=True):
        conditions = presets.get(name).method.plan(image, Context(seed=0)).conditions
        for place, shown in zip(row, (image, *(one.image for one in conditions)), strict=True):
            _show(place, shown)
        row[0].set_ylabel(name, fontsize=14)
    for place, title in zip(axes[0], COLUMNS, strict=True):
        place.set_title(title, fontsize=14)
    return figure


def _show(place: Axes, image: RgbImage) -> None:
    place.imshow(image)
    place.set_xticks([])
    place.set_yticks([])


if __name__ == "__main__":
    draw().savefig(PICTURE, pil_kwargs={"quality": 82})
