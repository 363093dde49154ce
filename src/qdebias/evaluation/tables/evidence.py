"""What one model said about one dataset under several methods, and how well each of them agrees with people."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation import Report
from qdebias.evaluation.readout import read
from qdebias.evaluation.tables.published import TITLES
from qdebias.inputs.datasets import CATALOGUE, Dataset
from qdebias.methods.method import Method, Score
from qdebias.methods.plan import Failure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """The scores of N images under one method; NaN where an image failed.

    Attributes:
        value: (N,) scores, higher is better.
        order: (N,) what SRCC ranks: the log-odds of the scores, see `qdebias.evaluation.readout`.
        errors: Why images failed, one line each.
    """

    value: FloatArray
    order: FloatArray
    errors: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """How many images have no score."""
        return int(np.isnan(self.value).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """Why there are no scores under a method, and what to do about it.

    Attributes:
        reason: In one line.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """One model on one dataset.

    Attributes:
        model: What `qdebias.load_backend` took.
        dataset: Name of the dataset.
        title: As it is printed.
        summary: How much of the dataset this is.
        root: The folder of the dataset, absolute.
        names: (N,) the images, in the order of the label file, relative to the root.
        contents: What the images show or where they are from: by "scene", "group" (of one reference photograph or
            prompt) and "subset", as far as the dataset tells them apart, (N,) names.
        quality: (N,) human scores, higher is better.
        groups: (N,) images of one group are resampled together; None where each stands for itself.
        seed: Seed of the degradations.
        results: Scores by the name of the method in `qdebias.methods.presets`.
        notes: What a reader has to know, such as which labels these are.
    """

    model: str
    dataset: str
    title: str
    summary: str
    root: str
    names: tuple[str, ...]
    contents: Mapping[str, tuple[str, ...]]
    quality: FloatArray
    groups: npt.NDArray[np.str_] | None = None
    seed: int = 0
    results: Mapping[str, Scores | NotRun] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[str, ...]:
        """Why images failed, under any method, each reason once."""
        scored = [scores for scores in self.results.values() if isinstance(scores, Scores)]
        return tuple(dict.fromkeys(error for scores in scored for error in scores.errors))


def collect(method: Method, results: Iterable[Score | Failure]) -> Scores:
    """Return the scores of results that are in the order of the dataset."""
    held = list(results)
    readings = [read(method, result, "exact") if isinstance(result, Score) else None for result in held]
    value = [np.nan if reading is None else reading.score for reading in readings]
    order = [np.nan if reading is None else reading.rank for reading in readings]
    return Scores(
        value=np.array(value, dtype=np.float64),
        order=np.array(order, dtype=np.float64),
        errors=tuple(result.error for result in held if isinstance(result, Failure)),
    )


def evaluated_evidence(whole: Dataset, report: Report, *, model: str) -> Evidence:
    """Return the scores of an evaluation as evidence, so that tables, bias and reports can start from it.

    Args:
        whole: The dataset that was evaluated, before any limit.
        report: The evaluation.
        model: What `qdebias.load_backend` took.
    """
    scores = Scores(
        value=np.array([np.nan if row.score is None else row.score for row in report.rows]),
        order=np.array([np.nan if row.rank is None else row.rank for row in report.rows]),
        errors=tuple(row.error for row in report.rows if row.error is not None),
    )
    return evidence_of(whole, {report.method: scores}, model=model, seed=report.seed, limit=report.limit)


def first(dataset: Dataset, limit: int | None) -> Dataset:
    """Return the first images of a dataset, all of them where there is no limit.

    Raises:
        SettingError: The limit is less than 1.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be 1 or more, got {limit}")
    return replace(dataset, items=dataset.items[:limit])


def evidence_of(
    whole: Dataset, results: Mapping[str, Scores | NotRun], *, model: str, seed: int, limit: int | None = None
) -> Evidence:
    """Return what a model said about a dataset.

    Args:
        whole: The dataset, before any limit.
        results: Scores of its images, up to the limit.
        model: What the model is called.
        seed: Seed of the degradations.
        limit: How many images were asked for at most.
    """
    dataset = first(whole, limit)
    cut = f"; only the first {limit:,} of them, as asked" if len(dataset) < len(whole) else ""
    groups = [item.group or item.path for item in dataset.items]
    entry = CATALOGUE.get(dataset.name)
    return Evidence(
        model=model,
        dataset=dataset.name,
        title=TITLES.get(dataset.name, entry.title if entry else dataset.name),
        summary=f"{whole.summary}{cut}",
        root=str(dataset.root.absolute()),
        names=tuple(item.path for item in dataset.items),
        contents=_contents(dataset),
        quality=dataset.quality,
        groups=np.array(groups) if 1 < len(set(groups)) < len(groups) else None,
        seed=seed,
        results=results,
        notes=(f"Human scores of {dataset.name}: {dataset.label_variant}.", *dataset.notes),
    )


def _contents(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Return the kinds of content that divide a dataset into at least two, but not into single images."""
    columns = {kind: tuple(getattr(item, kind) for item in dataset.items) for kind in ("scene", "group", "subset")}
    return {kind: column for kind, column in columns.items() if 1 < len(set(column)) < len(column)}
