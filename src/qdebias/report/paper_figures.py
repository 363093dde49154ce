"""Figures 1 and 4 of the paper as measurements, and exposure as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdebias.errors import SettingError
from qdebias.evaluation.bias import EXPOSED, Bias, contents_of, deserved, exposed, fractional_ranks
from qdebias.evaluation.evidence import Evidence
from qdebias.image import load_image
from qdebias.methods.plan import Score
from qdebias.report.figure import save, show

GREEN, BLUE, RED, GREY = "#2ca02c", "#1f77b4", "#d62728", "#b0b0b0"

LONGEST_SIDE = 320
"""Images of Figure 4 are drawn no larger than this, in pixels."""

MOST_BARS = 16


def draw_scatter(evidence: Evidence, bias: Bias, out: Path) -> None:
    """Write Figure 1: scores against human scores, coloured by what the images show, in the format of the suffix.

    Left and middle: the rank of each image's score against its human score, before and after debiasing; the line is
    the rank that images of a human score have on average. Right: how far each content is above or below that line.
    """
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    figure.suptitle(f"{evidence.title}, model {evidence.model}: what images show against how they are ranked")
    cells = figure.subplots(1, 3)
    contents = np.array(contents_of(evidence, bias.kind)[1])
    for cell, method, spread in zip(cells[:2], bias.methods, (bias.before, bias.after), strict=True):
        order = evidence.scores(method, "the figure").order
        scored = np.isfinite(order)
        quality, ranks, names = evidence.quality[scored], fractional_ranks(order[scored]), contents[scored]
        cell.scatter(quality, ranks, s=5, color="#c8c8c8", linewidths=0)
        for offset, colour in ((bias.offsets[0], RED), (bias.offsets[-1], BLUE)):
            chosen = names == offset.content
            cell.scatter(quality[chosen], ranks[chosen], s=9, color=colour, linewidths=0, label=offset.content)
        rising = np.argsort(quality, kind="stable")
        cell.plot(quality[rising], deserved(ranks, quality)[rising], color="black", linewidth=1)
        cell.set(xlabel="human score, higher is better", ylabel="rank of the score", ylim=(0, 1))
        cell.set_title(f"{method}: spread {spread}", fontsize=9)
        cell.legend(fontsize=8, loc="lower right")
    _draw_bars(cells[2], bias)
    save(figure, out)


def _draw_bars(cell: Axes, bias: Bias) -> None:
    drawn = bias.offsets
    if len(drawn) > MOST_BARS:
        drawn = (*drawn[: MOST_BARS // 2], *drawn[-MOST_BARS // 2 :])
    places = np.arange(len(drawn))[::-1]
    columns = ([one.before for one in drawn], [one.after for one in drawn])
    for shift, name, offsets, colour in zip((0.2, -0.2), bias.methods, columns, (GREY, GREEN), strict=True):
        cell.barh(places + shift, [offset.value for offset in offsets], height=0.38, color=colour, label=name)
        ends = [(offset.value if end is None else end) for offset in offsets for end in (offset.low, offset.high)]
        cell.hlines(places + shift, ends[::2], ends[1::2], color="black", linewidth=0.8)
    cell.axvline(0, color="black", linewidth=0.6)
    cell.set_yticks(places, [f"{offset.content} ({offset.count})" for offset in drawn], fontsize=8)
    cell.set_xlabel("rank too high (+) or too low (-) at equal human score")
    cell.legend(fontsize=8, loc="lower right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One image of Figure 4: what it shows, its human score (higher is better), and the scores of two methods."""

    name: str
    content: str
    quality: float
    before: float
    after: float


def choose_examples(
    evidence: Evidence, bias: Bias, *, columns: int = 5
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return images of the two extreme contents, paired by human score and spread over the scores that both have."""
    first, second = (evidence.scores(name, "the figure").value for name in bias.methods)
    names = contents_of(evidence, bias.kind)[1]
    known = np.isfinite(first) & np.isfinite(second)
    members = [
        [index for index, name in enumerate(names) if name == content and known[index]]
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

    rows: list[tuple[Example, ...]] = []
    for left in members:  # for each target the nearest human score that is not taken yet
        row = []
        for target in np.linspace(low, high, columns):
            one = min(left, key=lambda index: abs(quality[index] - target))
            left.remove(one)
            human, value, other = (float(column[one]) for column in (quality, first, second))
            row.append(Example(name=evidence.names[one], content=names[one], quality=human, before=value, after=other))
        rows.append(tuple(row))
    return rows[0], rows[1]


def draw_grid(rows: Sequence[Sequence[Example]], root: Path, out: Path, *, title: str) -> None:
    """Write Figure 4: the rows of `choose_examples`, whose names are relative to `root`, with all scores."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.4 * columns, 2.1 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for row, cells in zip(rows, figure.subplots(len(rows), columns, squeeze=False), strict=True):
        for example, cell in zip(row, cells, strict=True):
            show(cell, load_image(root / example.name), longest=LONGEST_SIDE)
            texts = (f"{example.quality:.2f}", f"{example.before:.3f}", f"{example.after:.3f}")
            for line, (text, colour) in enumerate(zip(texts, (GREEN, BLUE, RED), strict=True)):  # as in the paper
                box = {"facecolor": "white", "alpha": 0.8, "pad": 1, "linewidth": 0}
                height = 0.94 - 0.13 * line
                where = {"va": "center", "transform": cell.transAxes}
                cell.text(0.03, height, text, fontsize=8, weight="bold", color=colour, bbox=box, **where)
        cells[0].set_ylabel(row[0].content, fontsize=9)
    save(figure, out)


def draw_strip(scores: Sequence[Score], out: Path, *, title: str) -> None:
    """Write exposure as a picture: one column of points for the images, one for each kind of copy, with their means."""
    if not scores:
        raise SettingError("there is no image with an exposure to be drawn")
    columns = np.array([exposed(score) for score in scores])
    names = ["image itself", *EXPOSED[1:]]
    figure = Figure(figsize=(1.6 * len(names) + 1, 4), layout="constrained")
    cell = figure.subplots()
    figure.suptitle(title, fontsize=10)
    spread = np.linspace(-0.25, 0.25, len(scores)) if len(scores) > 1 else np.zeros(1)
    for place, column in enumerate(columns.T):
        cell.scatter(place + spread, column, s=8, color=BLUE if place else GREEN, linewidths=0)
        cell.hlines(column.mean(), place - 0.3, place + 0.3, color="black", linewidth=1.2)
    cell.set_xticks(np.arange(len(names)), names)
    cell.set(ylabel="P(good), vanilla question", ylim=(-0.02, 1.02))
    save(figure, out)
