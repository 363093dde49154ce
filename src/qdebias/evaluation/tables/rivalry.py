"""Scores of other people's metrics on the images of a dataset, for Table 1."""

from collections.abc import Callable

import numpy as np

from qdebias.errors import ImageError, MissingPackageError
from qdebias.evaluation.tables.evidence import NotRun, Scores
from qdebias.image import MAX_PIXELS, load_image
from qdebias.inputs.datasets import Dataset
from qdebias.metrics.pyiqa import load_rival

PREFIX = "rival "
"""What stands before the name of a rival in `Evidence.results`."""


def rival_scores(
    dataset: Dataset,
    name: str,
    *,
    device: str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int], None] | None = None,
) -> Scores | NotRun:
    """Return the scores of a metric of pyiqa, higher is better, or why there are none.

    Args:
        dataset: The images.
        name: A row of Table 1, or pyiqa's own name.
        device: Where it runs.
        max_pixels: Larger images are refused before they are decoded.
        progress: Is told how many images are done.

    Raises:
        SettingError: There is no such metric.
    """
    try:
        rival = load_rival(name, device=device)
    except MissingPackageError as error:
        return NotRun(reason=str(error))
    values, errors = [], []
    for done, path in enumerate(dataset.paths, start=1):
        try:
            values.append(rival(load_image(path, max_pixels=max_pixels)))
        except ImageError as error:
            values.append(np.nan)
            errors.append(str(error))
        if progress is not None:
            progress(done)
    column = np.array(values, dtype=np.float64)
    return Scores(value=column, order=column, errors=tuple(errors))
