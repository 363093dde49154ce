"""Scores that were made elsewhere, put in the order of a dataset."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qdebias.errors import SettingError
from qdebias.evaluation.tables import Scores
from qdebias.inputs.datasets import Dataset
from qdebias.runs.scores import GivenScore, read_scores


def read_given(path: Path, dataset: Dataset) -> Scores:
    """Return the scores that a file gives to the images of a dataset.

    An image is found by its path, absolute or as the labels name it, or else by its file name where no two images of
    the dataset share it. Images that the file leaves out have no score.

    Args:
        path: See `qdebias.runs.scores.read_scores`.
        dataset: The images, and what people said about them.

    Raises:
        SettingError: The file cannot be read, names none of the images, or two of its rows are one image.
    """
    places = _places(dataset)
    value = np.full(len(dataset), np.nan)
    errors = []
    rows: dict[int, str] = {}
    for one in read_scores(path):
        place = _place(one, places)
        if place is None:
            continue
        if place in rows:
            raise SettingError(f"{path}: {rows[place]!r} and {one.path!r} are the same image of {dataset.name}")
        rows[place] = one.path
        if one.score is None:
            errors.append(one.error or "")
        else:
            value[place] = one.score
    if not rows:
        raise SettingError(
            f"{path}: names none of the {len(dataset):,} images of {dataset.name}, such as {dataset.items[0].path}"
        )
    return Scores(value=value, order=value, errors=tuple(errors))


def _place(one: GivenScore, places: Sequence[Mapping[str, int]]) -> int | None:
    names = (str(Path(one.path).absolute()), one.path, one.path, Path(one.path).name)
    return next((known[name] for known, name in zip(places, names, strict=True) if name in known), None)


def _places(dataset: Dataset) -> list[dict[str, int]]:
    """Return where each image stands, by absolute path, by path and name in the labels, and by file name."""
    columns = (
        [str(path.absolute()) for path in dataset.paths],
        [item.path for item in dataset.items],
        [item.name for item in dataset.items],
        [Path(item.path).name for item in dataset.items],
    )
    return [_unique(column) for column in columns]


def _unique(names: Sequence[str]) -> dict[str, int]:
    counts = Counter(names)
    return {name: place for place, name in enumerate(names) if counts[name] == 1}
