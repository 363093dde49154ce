"""Figure 4 of the paper: images of different content and close human scores, with the scores of two methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation.bias import UNLABELLED, Bias, contents_of
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.image import load_image
from qdebias.report.picture import save

COLOURS = ("#2ca02c", "#1f77b4", "#d62728")
"""Of the human score, of the first method, of the second: green, blue and red, as in the paper."""

LONGEST_SIDE = 320
"""Images are drawn no larger than this, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One image of the grid.

    Attributes:
        name: The image, relative to the dataset's root.
        content: What it shows.
        quality: Human score, higher is better.
        before: Score under the first method.
        after: Score under the second.
    """

    name: str
    content: str
    quality: float
    before: float
    after: float


def choose_examples(
    evidence: Evidence, bias: Bias, *, before: str = "qbench", after: str = "paper", columns: int = 5
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return two rows of images, pair by pair of close human scores.

    The rows are the contents that are ranked most too high and most too low before debiasing; the pairs are spread
    evenly over the human scores that both have.

    Raises:
        SettingError: The two have too few images.
    """
    first, second = _sound(evidence, before), _sound(evidence, after)
    names = [name or UNLABELLED for name in contents_of(evidence, bias.kind)[1]]
    known = np.isfinite(first) & np.isfinite(second)
    members = [
        [place for place, name in enumerate(names) if name == content and known[place]]
        for content in (bias.offsets[0].content, bias.offsets[-1].content)
    ]
    quality = evidence.quality
    low = max((float(quality[row].min()) for row in members if row), default=0.0)
    high = min((float(quality[row].max()) for row in members if row), default=0.0)
    if min(map(len, members)) < columns or low > high:
        raise SettingError(
            f"{bias.offsets[0].content} and {bias.offsets[-1].content} have too few images of common human scores for "
            f"a grid of {columns} columns"
        )
    chosen = [_nearest(quality, row, np.linspace(low, high, columns)) for row in members]
    rows = [
        tuple(
            Example(
                name=evidence.names[place],
                content=names[place],
                quality=float(quality[place]),
                before=float(first[place]),
                after=float(second[place]),
            )
            for place in row
        )
        for row in chosen
    ]
    return rows[0], rows[1]


def draw_grid(rows: Sequence[Sequence[Example]], root: Path, out: Path, *, title: str) -> None:
    """Write the picture: each image with its human score and the two methods' scores.

    Args:
        rows: From `choose_examples`.
        root: The folder that the names are relative to.
        out: The file; its format follows its suffix.
        title: What stands above.

    Raises:
        SettingError: The file cannot be written.
        ImageError: An image cannot be read.
    """
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.4 * columns, 2.1 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for row, cells in zip(rows, figure.subplots(len(rows), columns, squeeze=False), strict=True):
        for example, cell in zip(row, cells, strict=True):
            _draw(example, cell, root)
        cells[0].set_ylabel(row[0].content, fontsize=9)
    save(figure, out)


def _draw(example: Example, cell: Axes, root: Path) -> None:
    image = load_image(root / example.name)
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    cell.imshow(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    cell.set(xticks=[], yticks=[])
    texts = (f"{example.quality:.2f}", f"{example.before:.3f}", f"{example.after:.3f}")
    for line, (text, colour) in enumerate(zip(texts, COLOURS, strict=True)):
        cell.text(
            0.03,
            0.94 - 0.13 * line,
            text,
            fontsize=8,
            weight="bold",
            color=colour,
            va="center",
            transform=cell.transAxes,
            bbox={"facecolor": "white", "alpha": 0.8, "pad": 1, "linewidth": 0},
        )


def _sound(evidence: Evidence, recipe: str) -> FloatArray:
    scores = evidence.results.get(recipe)
    if not isinstance(scores, Scores):
        raise SettingError(f"the grid needs scores under {recipe}: {scores.reason if scores else 'not asked'}")
    return scores.value


def _nearest(quality: FloatArray, places: Sequence[int], targets: FloatArray) -> list[int]:
    """Return for each target the place of the nearest human score that is not taken yet."""
    left = list(places)
    chosen = []
    for target in targets:
        place = min(left, key=lambda one: abs(quality[one] - target))
        left.remove(place)
        chosen.append(place)
    return chosen
