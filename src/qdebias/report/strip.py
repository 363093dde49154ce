"""Exposure as a picture: P(good) of images and of their degraded copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from qdebias.errors import SettingError
from qdebias.evaluation.bias import Exposure
from qdebias.methods.method import Score
from qdebias.report.picture import save


def draw_strip(scores: Sequence[Score], method: Exposure, out: Path, *, title: str) -> None:
    """Write the picture: one column of points for the images, one for each kind of copy, with their means.

    Args:
        scores: Under `method`.
        method: What was asked.
        out: The file; its format follows its suffix.
        title: What stands above.

    Raises:
        SettingError: There are no scores, or the file cannot be written.
    """
    if not scores:
        raise SettingError("there is no image with an exposure to be drawn")
    columns = np.array([[method.read(score.logits[0][0]), *score.good] for score in scores])
    names = ["image itself", *method.kinds]
    figure = Figure(figsize=(1.6 * len(names) + 1, 4), layout="constrained")
    cell = figure.subplots()
    figure.suptitle(title, fontsize=10)
    spread = np.linspace(-0.25, 0.25, len(scores)) if len(scores) > 1 else np.zeros(1)
    for place, column in enumerate(columns.T):
        cell.scatter(place + spread, column, s=8, color="#1f77b4" if place else "#2ca02c", linewidths=0)
        cell.hlines(column.mean(), place - 0.3, place + 0.3, color="black", linewidth=1.2)
    cell.set_xticks(np.arange(len(names)), names)
    cell.set(ylabel="P(good), vanilla question", ylim=(-0.02, 1.02))
    save(figure, out)
