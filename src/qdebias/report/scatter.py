"""Figure 1 of the paper as a measurement: scores against human scores, coloured by what the images show."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdebias.errors import SettingError
from qdebias.evaluation.bias import UNLABELLED, Bias, contents_of, deserved, fractional_ranks
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.report.picture import save

COLOURS = ("#d62728", "#1f77b4")
"""Of the content that is ranked most too high before debiasing, and of the one most too low."""

MOST_BARS = 16


def draw_scatter(evidence: Evidence, bias: Bias, out: Path, *, before: str = "vanilla", after: str = "paper") -> None:
    """Write the picture; its format follows the suffix of `out`.

    Left and middle: the rank of each image's score against its human score, before and after debiasing; the line is
    the rank that images of a human score have on average. Right: how far each content is above or below that line.

    Args:
        evidence: The scores.
        bias: The offsets, from `measure_bias` with the same methods.
        out: The file.
        before: Name of the method without debiasing.
        after: Name of the method with it.

    Raises:
        SettingError: The file cannot be written, or its suffix names no format of pictures.
    """
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    figure.suptitle(f"{evidence.title}, model {evidence.model}: what images show against how they are ranked")
    cells = figure.subplots(1, 3)
    extremes = [bias.offsets[0].content, bias.offsets[-1].content]
    spreads = (bias.before, bias.after)
    for cell, recipe, spread in zip(cells[:2], (before, after), spreads, strict=True):
        _draw_points(cell, evidence, recipe, bias.kind, extremes)
        cell.set_title(f"{recipe}: spread {spread}", fontsize=9)
    _draw_bars(cells[2], bias, (before, after))
    save(figure, out)


def _draw_points(cell: Axes, evidence: Evidence, recipe: str, kind: str, extremes: Sequence[str]) -> None:
    scores = evidence.results[recipe]
    if not isinstance(scores, Scores):
        raise SettingError(f"{recipe}: {scores.reason}")
    sound = np.isfinite(scores.order)
    quality, ranks = evidence.quality[sound], fractional_ranks(scores.order[sound])
    names = np.array([name or UNLABELLED for name in contents_of(evidence, kind)[1]])[sound]
    cell.scatter(quality, ranks, s=5, color="#c8c8c8", linewidths=0)
    for content, colour in zip(extremes, COLOURS, strict=True):
        chosen = names == content
        cell.scatter(quality[chosen], ranks[chosen], s=9, color=colour, linewidths=0, label=content)
    order = np.argsort(quality, kind="stable")
    cell.plot(quality[order], deserved(ranks, quality)[order], color="black", linewidth=1)
    cell.set(xlabel="human score, higher is better", ylabel="rank of the score", ylim=(0, 1))
    cell.legend(fontsize=8, loc="lower right")


def _draw_bars(cell: Axes, bias: Bias, recipes: Sequence[str]) -> None:
    shown = bias.offsets
    if len(shown) > MOST_BARS:
        shown = (*shown[: MOST_BARS // 2], *shown[-MOST_BARS // 2 :])
    places = np.arange(len(shown))[::-1]
    for shift, recipe, colour in ((0.2, recipes[0], "#b0b0b0"), (-0.2, recipes[1], "#2ca02c")):
        offsets = [offset.before if shift > 0 else offset.after for offset in shown]
        cell.barh(places + shift, [offset.value for offset in offsets], height=0.38, color=colour, label=recipe)
        ends = [(offset.value if end is None else end) for offset in offsets for end in (offset.low, offset.high)]
        cell.hlines(places + shift, ends[::2], ends[1::2], color="black", linewidth=0.8)
    cell.axvline(0, color="black", linewidth=0.6)
    cell.set_yticks(places, [f"{offset.content} ({offset.count})" for offset in shown], fontsize=8)
    cell.set_xlabel("rank too high (+) or too low (-) at equal human score")
    cell.legend(fontsize=8, loc="lower right")
