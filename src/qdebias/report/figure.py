"""Pictures of scores: the photograph, its copies, and bars; what all pictures have in common."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from textwrap import fill

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.plan import Score
from qdebias.runs.scorer import Explanation
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
    """Write a figure; its format follows the suffix of `out`."""
    marks = ("CJK", "WenQuanYi", "Hiragino", "YaHei", "Malgun", "Yu Gothic", "PingFang")  # Chinese, Japanese, Korean
    fonts = sorted({font.name for font in fontManager.ttflist if any(mark in font.name for mark in marks)})
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that no font here has is drawn as boxes
            for text in figure.findobj(Text):
                text.set_parse_math(False)  # a name may hold $
                text.set_fontfamily([*text.get_fontfamily(), *fonts])
            figure.savefig(file, dpi=120, format=out.suffix.removeprefix(".") or None)
    except (OSError, ValueError) as error:
        raise SettingError(f"{out}: the picture cannot be written ({error})") from error


def check_format(out: Path) -> None:
    """Refuse a file whose suffix names no format of pictures."""
    formats = FigureCanvasBase.get_supported_filetypes()
    if out.suffix and out.suffix[1:].lower() not in formats:
        raise SettingError(f"{out}: pictures are written as {', '.join(formats)}; choose one of these suffixes")


PANEL = 2.3
"""Width of one picture of the grid, in inches; height is three quarters of it."""

LONGEST_SIDE = 640
"""Images are drawn no larger than this, in pixels; the model saw them in full."""

POSTER = 4
"""Photographs on a poster, at most."""

BEFORE, AFTER = "#9aa5b1", "#1769aa"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """What is drawn of one image: its name and score; and its score by the vanilla question, unless that is None."""

    name: str
    explanation: Explanation
    vanilla: float | None = None

    @property
    def value(self) -> float:
        """The score, in [0, 1]."""
        return self.explanation.score.value

    @property
    def plain(self) -> float:
        """The score of the plain question, NaN where there is none."""
        return np.nan if self.vanilla is None else self.vanilla


def poster(rows: Sequence[Row], *, model: str, method: str, note: str = "") -> Figure:
    """Return two to four photographs, those that debiasing changes most, with their scores and one sentence."""
    pair, chosen = _choose(rows)
    wide = 11.2 / len(chosen)
    heights = (0.75 * wide + 0.3, 0.19 * wide, 1.3)
    figure = Figure(figsize=(12.8, sum(heights) + 1.4), layout="constrained")
    beside = "beside degraded copies" if chosen[0].explanation.plan.conditions else f"under {method}"
    if pair is not None:
        one, two = (f"“{_short(row.name, 24)}”" for row in pair)
        sentence = f"Asked plainly, {model} prefers {one} to {two}. {beside.capitalize()}, it prefers {two}."
    else:
        most = max(chosen, key=lambda row: abs(row.value - row.plain))
        name = _short(most.name, 24)
        sentence = f"{model} scores “{name}” {most.plain:.2f} asked plainly, and {most.value:.2f} {beside}."
    figure.suptitle(fill(sentence, 76, break_on_hyphens=False), fontsize=18, weight="bold")
    axes = figure.subplots(3, len(chosen), squeeze=False, height_ratios=heights)
    for number, (row, (photo, copies, bars)) in enumerate(zip(chosen, axes.T, strict=True)):
        show(photo, _cropped(row.explanation.image), longest=LONGEST_SIDE)
        photo.set_title(_short(row.name, 32), fontsize=13)
        copies.axis("off")
        if conditions := row.explanation.plan.conditions:
            if number == 0:
                copies.text(-0.025, 0.5, "its copies", fontsize=12, ha="right", va="center", transform=copies.transAxes)
            small = [reduced(_cropped(one.image), LONGEST_SIDE // len(conditions)) for one in conditions]
            height = min(image.shape[0] for image in small)
            gap = np.full((height, 6, 3), 255, dtype=np.uint8)
            copies.imshow(np.hstack([part for image in small for part in (image[:height], gap)][:-1]))
        _draw_bars(bars, row, ("asked plainly", beside.replace("degraded", "its")) if number == 0 else None)
    footer = f"model {model}, method {method}, against vanilla; drawn by qdebias. {note}"
    figure.supxlabel(fill(footer, 150), fontsize=10, color="#555555")
    return figure


def _choose(rows: Sequence[Row]) -> tuple[tuple[Row, Row] | None, list[Row]]:
    """Return two images that debiasing puts in the other order, if any, and up to four with them, in their order."""
    gaps = {
        pair: min(pair[0].plain - pair[1].plain, pair[1].value - pair[0].value)
        for one, two in combinations(rows, 2)
        for pair in ((one, two), (two, one))
    }
    pair = max(gaps, key=lambda pair: gaps[pair])
    turned = pair if gaps[pair] >= 0.005 else None
    first = list(turned or ())
    others = sorted((row for row in rows if row not in first), key=lambda row: -abs(row.value - row.plain))
    chosen = [*first, *others][:POSTER]
    return turned, [row for row in rows if row in chosen]


def _short(name: str, most: int) -> str:
    stem = name.rpartition(".")[0] or name
    return stem if len(stem) <= most else stem[: most - 1] + "…"


def _cropped(image: RgbImage) -> RgbImage:
    """Return the largest part in the middle that is 4 wide and 3 high."""
    height, width = image.shape[:2]
    tall, wide = min(height, max(1, width * 3 // 4)), min(width, max(1, height * 4 // 3))
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[top : top + tall, left : left + wide]


def _draw_bars(cell: Axes, row: Row, labels: tuple[str, str] | None) -> None:
    for place, value, colour in ((1, row.plain, BEFORE), (0, row.value, AFTER)):
        cell.barh(place, value, color=colour, height=0.78)
        inside = value > 0.75
        cell.text(
            value - 0.02 if inside else value + 0.02,
            place,
            f"{value:.2f}",
            fontsize=19,
            weight="bold",
            color="white" if inside else "#222222",
            va="center",
            ha="right" if inside else "left",
        )
    cell.set(xlim=(0, 1), xticks=[], ylim=(-0.5, 1.5))
    cell.set_yticks([1, 0], labels or ("", ""), fontsize=12)
    cell.tick_params(length=0)
    cell.spines[:].set_visible(False)


def explain(rows: Sequence[Row], *, title: str) -> Figure:
    """Return a grid: a row for each image, with its degraded copies and what the model made of each pair."""
    columns = 2 + max(len(row.explanation.plan.conditions) for row in rows)
    figure = Figure(figsize=(PANEL * columns, 0.45 + PANEL * len(rows)), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (query, *pictures, scale) in zip(rows, axes, strict=True):
        score, conditions = row.explanation.score, row.explanation.plan.conditions
        shown = [(row.explanation.image, row.name, "")]
        for index, condition in enumerate(conditions):
            same = f"   P(same) {score.same[index]:.2f}" if len(score.same) else ""
            caption = f"P(good) {score.good[index]:.3f}\nweight {score.weight[index]:.3f}{same}"
            shown.append((condition.image, words(condition.kind), caption))
        for cell, (image, name, caption) in zip((query, *pictures), shown, strict=False):
            show(cell, image, longest=LONGEST_SIDE)
            cell.set_title(name, fontsize=8, parse_math=False)  # a file may be called $x^$.png
            cell.set_xlabel(caption, fontsize=8)
        for cell in pictures[len(conditions) :]:
            cell.axis("off")
        _draw_scale(scale, score, row.vanilla)
    return figure


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
