"""Options of the commands that read a dataset with human scores."""

from pathlib import Path
from typing import Annotated, cast

import typer

from qdebias.errors import SettingError
from qdebias.metrics.mos import Direction

DatasetName = Annotated[
    str,
    typer.Argument(
        help="A dataset by name, see `qdebias datasets`, or a label file with columns img_path and gt_score."
    ),
]
Root = Annotated[Path | None, typer.Option(help="Folder that holds the dataset.")]
Subset = Annotated[
    str | None, typer.Option(help="Only this split or subset; `sample` takes whatever rows and images are there.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only this many images, from the start.")]
Labels = Annotated[Path | None, typer.Option(help="A label file in place of the dataset's own.")]
LabelColumn = Annotated[str | None, typer.Option("--column", help="Of one's own labels: the column of human scores.")]
DirectionName = Annotated[
    str | None, typer.Option("--direction", help="Of one's own labels: higher or lower is better.")
]
Resamples = Annotated[int, typer.Option(min=0, help="Bootstrap resamples of the 95 % intervals; 0: none.")]


def direction_named(name: str | None) -> Direction | None:
    """Return the direction of a name.

    Raises:
        SettingError: There is none of that name.
    """
    if name not in (None, "higher", "lower"):
        raise SettingError(f"--direction is higher or lower, got {name!r}")
    return cast(Direction | None, name)
