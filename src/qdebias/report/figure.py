"""One picture that explains scores: the query, its conditional images, and what the model made of each pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdebias.image import RgbImage
from qdebias.methods.method import Score
from qdebias.report.picture import save
from qdebias.report.words import words
from qdebias.runs.scorer import Explanation

PANEL = 2.3
"""Width of one picture, in inches; height is three quarters of it."""

LONGEST_SIDE = 640
"""Images are drawn no larger than this, in pixels; the model saw them in full."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """What one row of the picture shows.

    Attributes:
        name: Title of the row.
        explanation: The score and the images behind it.
        vanilla: Score of the same image by the vanilla question, in [0, 1]; None where it is not to be shown.
    """

    name: str
    explanation: Explanation
    vanilla: float | None = None


def draw(rows: Sequence[Row], out: Path, *, title: str) -> None:
    """Write the picture; its format follows the suffix of `out`.

    Raises:
        SettingError: The file cannot be written, or its suffix names no format of pictures.
    """
    save(explain(rows, title=title), out)


def explain(rows: Sequence[Row], *, title: str) -> Figure:
    """Return the picture."""
    columns = 2 + max(len(row.explanation.plan.conditions) for row in rows)
    figure = Figure(figsize=(PANEL * columns, 0.45 + PANEL * len(rows)), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, cells in zip(rows, axes, strict=True):
        _draw_row(row, list(cells))
    return figure


def _draw_row(row: Row, cells: list[Axes]) -> None:
    query, *pictures, scale = cells
    score = row.explanation.score
    _show(query, row.explanation.image, row.name)
    for cell in pictures:
        cell.axis("off")
    for index, (cell, condition) in enumerate(zip(pictures, row.explanation.plan.conditions, strict=False)):
        same = f"   P(same) {score.same[index]:.2f}" if len(score.same) else ""
        caption = f"P(good) {score.good[index]:.3f}\nweight {score.weight[index]:.3f}{same}"
        _show(cell, condition.image, words(condition.kind), caption)
    _draw_scale(scale, score, row.vanilla)


def _show(cell: Axes, image: RgbImage, title: str, caption: str = "") -> None:
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    cell.imshow(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    cell.axis("on")
    cell.set(xticks=[], yticks=[])
    cell.set_title(title, fontsize=8, parse_math=False)  # a file may be called $x^$.png
    cell.set_xlabel(caption, fontsize=8)


def _draw_scale(cell: Axes, score: Score, vanilla: float | None) -> None:
    """Draw the score, the vanilla score below it, and more than two options, as bars from 0 to 1."""
    bars = [("score", score.value, "#1f77b4")]
    if vanilla is not None:
        bars.append(("vanilla", vanilla, "#b0b0b0"))
    options = score.probabilities if len(score.probabilities) > 2 else {}
    bars += [(option, share, "#9ecae1") for option, share in options.items()]
    names, values, colours = zip(*bars[::-1], strict=True)
    places = np.arange(len(names))
    cell.barh(places, values, color=colours, height=0.5)
    for place, number in zip(places, values, strict=True):
        cell.text(0.02, place + (0 if options else 0.38), f"{number:.3f}", fontsize=6 if options else 8, va="center")
    cell.set(xlim=(0, 1), ylim=(-0.6, max(1.9, len(names) - 0.4)), xticks=[0, 0.5, 1])
    cell.set_yticks(places, names, fontsize=6 if options else 8)
    cell.tick_params(labelsize=7)
    for side in ("top", "right"):
        cell.spines[side].set_visible(False)
