"""The evaluation of a model and a method on a dataset: a row for each image, and the agreement of both scores."""

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from html import escape
from os import PathLike
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import numpy as np

from qdebias.backends.base import Backend, Fingerprint
from qdebias.errors import SettingError
from qdebias.evaluation.evidence import Evidence, Readout, Scores, evidence_of, read
from qdebias.image import MAX_PIXELS
from qdebias.inputs.datasets import Dataset, Item, load_dataset
from qdebias.inputs.datasets.load import refuse_videos
from qdebias.methods.plan import Failure, Method, Score
from qdebias.methods.recipe import Recipe
from qdebias.metrics.measures import (
    Columns,
    Correlation,
    MeanCorrelation,
    correlate,
    correlate_within,
    refuse_own_scores,
)
from qdebias.runs.records import AnsweredRecord, Row, record
from qdebias.runs.run import Run, open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedImage(Row):
    """An image of a dataset with its human score and ours; see `qdebias.Score` for the other columns."""

    path: str
    mos: float  # the human score as in the labels
    quality: float  # the same, higher is better
    score: float | None = None  # None if the image failed
    rank: float | None = None  # what SRCC and KRCC rank, see `qdebias.evaluation.evidence`
    error: str | None = None
    split: str = ""
    subset: str = ""
    scene: str = ""
    group: str = ""
    good: tuple[float, ...] = ()
    same: tuple[float, ...] = ()
    weight: tuple[float, ...] = ()
    spread: float | None = None
    deviation: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    logits: tuple[tuple[tuple[float, ...], ...], ...] = ()  # per request, per question, per option


PartKind: TypeAlias = Literal["split", "subset", "scene"]
KINDS: tuple[PartKind, ...] = ("split", "subset", "scene")

MEASURES = ("srcc", "plcc", "plcc_logistic", "plcc_logistic5", "krcc", "rmse")
"""The measures of a correlation in the order of the report, each with its interval."""

LEVEL = 0.95
"""Coverage of the intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The agreement within one split, subset or scene of `count` images, or the reason why there is none."""

    kind: PartKind
    name: str
    count: int
    correlation: Correlation | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How well the scores of one model and method agree with the human ones of one dataset.

    Attributes:
        dataset: Name of the dataset.
        subset: The requested part; None for all images.
        limit: The maximal number of images; None without a limit.
        complete: Whether this is the whole published dataset.
        summary: What was evaluated, and how much of the dataset this is.
        labels: The version of the labels, if there are several.
        label_digest: First 16 hex digits of the SHA-256 of the label files.
        model: Name of the model, without its folder.
        method: Name of the method.
        seed: Seed of the random degradations.
        readout: How scores were read from logits.
        correlation: Over all images that have a score, with `Dataset.quality`.
        grouped: Whether the intervals resample groups of images (of one reference, say) instead of images.
        parts: Each split, subset and scene of the dataset, if there are several.
        means: For each kind of part, the mean over its parts, unless one of them has no correlation.
        rows: Every image with both scores, or its error, in the order of the dataset.
        notes: Remarks on the labels of the dataset.
    """

    dataset: str
    subset: str | None
    limit: int | None
    complete: bool
    summary: str
    labels: str
    label_digest: str
    model: str
    method: str
    seed: int
    readout: Readout
    correlation: Correlation
    grouped: bool
    parts: tuple[Part, ...]
    means: Mapping[PartKind, MeanCorrelation]
    rows: tuple[EvaluatedImage, ...]
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of correlated images."""
        return self.correlation.count

    @property
    def failures(self) -> tuple[EvaluatedImage, ...]:
        """The images without a score, which are not part of the correlation."""
        return tuple(row for row in self.rows if row.error is not None)

    @property
    def headline(self) -> str:
        """SRCC with its interval, PLCC, and the numbers of images."""
        found = self.correlation.srcc_interval
        interval = f" [{found.low:.3f}, {found.high:.3f}]" if found else ""
        return f"SRCC {self.srcc:.3f}{interval}, PLCC {self.plcc:.3f}, {self.count} images, {len(self.failures)} failed"

    def __repr__(self) -> str:
        return f"Report({self.dataset}, {self.model}, {self.method}: {self.headline})"

    def _repr_html_(self) -> str:
        from qdebias.metrics.charts import STYLE, scatter  # imports Matplotlib

        one = _columns([row for row in self.rows if row.error is None])
        value, quality = np.array(one.predicted), np.array(one.mos)
        fit, steps = self.correlation.logistic, np.linspace(value.min(), value.max(), 100)
        drawn = scatter(
            value,
            quality,
            f"score of {self.method}, model {self.model}",
            f"human score, {self.dataset}",
            curve=(steps, fit(steps)) if fit.converged else None,
        )
        return f'<style>{STYLE}</style><div class="qd"><p><b>{escape(self.headline)}</b></p>{drawn}</div>'

    @property
    def srcc(self) -> float:
        """Spearman's rank correlation."""
        return self.correlation.srcc

    @property
    def plcc(self) -> float:
        """Pearson's correlation of the scores as they are."""
        return self.correlation.plcc

    def values(self) -> dict[str, Any]:
        """Return the report without its rows as plain values, without paths and times."""
        plain = ("dataset", "subset", "limit", "complete", "summary", "labels", "label_digest")
        asked = ("model", "method", "seed", "readout")
        return {
            **{name: getattr(self, name) for name in plain + asked},
            "count": self.count,
            "failed": len(self.failures),
            **_measures(self.correlation),
            "resamples": 0 if self.correlation.srcc_interval is None else self.correlation.srcc_interval.resamples,
            "level": LEVEL,
            "grouped": self.grouped,
            "parts": [
                {"kind": part.kind, "name": part.name, "count": part.count}
                | (_measures(part.correlation) if part.correlation else {"reason": part.reason})
                for part in self.parts
            ],
            "means": {
                kind: {"parts": mean.parts, **_measures(mean, ("srcc", "plcc"))} for kind, mean in self.means.items()
            },
            "notes": list(self.notes),
        }

    def json(self) -> str:
        """Return `values` as one line of JSON; null is undefined."""
        return json.dumps(self.values(), ensure_ascii=False, allow_nan=False)

    def evidence(self, dataset: Dataset, *, model: str) -> Evidence:
        """Return the scores as evidence, for tables, bias and other reports."""
        columns = [(row.score, row.rank) for row in self.rows]
        value, order = np.array(columns, dtype=np.float64).reshape(-1, 2).T  # None becomes NaN
        errors = tuple(row.error for row in self.failures if row.error is not None)
        scores = {self.method: Scores(value=value, order=order, errors=errors)}
        return evidence_of(dataset, scores, model=model, seed=self.seed)


def make_report(
    dataset: Dataset,
    rows: Sequence[EvaluatedImage],
    *,
    model: str,
    method: str,
    seed: int = 0,
    readout: Readout = "exact",
    resamples: int = 1000,
) -> Report:
    """Correlate the rows of a dataset, which are in its order; the seed of the bootstrap is fixed."""
    scored = [row for row in rows if row.error is None]
    parts: list[Part] = []
    means: dict[PartKind, MeanCorrelation] = {}
    for kind in KINDS:
        members: dict[str, list[EvaluatedImage]] = {}
        for row in scored:
            members.setdefault(getattr(row, kind), []).append(row)
        members.pop("", None)
        if len(members) < 2:
            continue
        for name, part in sorted(members.items()):
            correlation, reason = None, ""
            try:
                correlation = _correlate(part, resamples)
            except SettingError as error:
                reason = str(error)
            parts.append(Part(kind=kind, name=name, count=len(part), correlation=correlation, reason=reason))
        with suppress(SettingError):
            columns = [_columns(part) for _, part in sorted(members.items())]
            means[kind] = correlate_within(columns, resamples=resamples, level=LEVEL)
    return Report(
        dataset=dataset.name,
        subset=dataset.subset,
        limit=dataset.limit,
        complete=dataset.complete,
        summary=dataset.summary,
        labels=dataset.label_variant,
        label_digest=dataset.label_digest,
        model=model,
        method=method,
        seed=seed,
        readout=readout,
        correlation=_correlate(scored, resamples),
        grouped=_columns(scored).groups is not None,
        parts=tuple(parts),
        means=means,
        rows=tuple(rows),
        notes=dataset.notes,
    )


def _correlate(rows: Sequence[EvaluatedImage], resamples: int) -> Correlation:
    one = _columns(rows)
    refuse_own_scores(np.asarray(one.predicted), np.asarray(one.mos), "the model")
    return correlate(one, resamples=resamples, level=LEVEL)


def _columns(rows: Sequence[EvaluatedImage]) -> Columns:
    """Return the correlated columns, with groups if there are at least two, some of them with several images."""
    groups = [row.group or row.path for row in rows]
    return Columns(
        predicted=[row.score or 0.0 for row in rows],
        mos=[row.quality for row in rows],
        ranked_by=[row.rank or 0.0 for row in rows],
        groups=groups if 1 < len(set(groups)) < len(groups) else None,
    )


def _measures(correlation: Correlation | MeanCorrelation, measures: Sequence[str] = MEASURES) -> dict[str, Any]:
    """Return each measure and its interval; None is undefined."""
    values: dict[str, Any] = {}
    for name in measures:
        interval = getattr(correlation, f"{name}_interval")
        ends = (interval.low, interval.high) if interval else ()
        number, *pair = (end if math.isfinite(end) else None for end in (getattr(correlation, name), *ends))
        values |= {name: number, f"{name}_interval": pair or None}
    return values


_EVIDENCE = ("good", "same", "weight", "spread", "deviation", "probabilities", "logits")


def _evaluated(
    dataset: Dataset, item: Item, result: Score | Failure, method: Method, readout: Readout
) -> EvaluatedImage:
    made: dict[str, Any] = {name: getattr(item, name) for name in ("path", "mos", *KINDS, "group")}
    if isinstance(result, Failure):
        made["error"] = result.error
    else:
        row = record(item.path, result, model="", method="", seed=0, kind=AnsweredRecord)
        made |= {name: getattr(row, name) for name in _EVIDENCE}
        made["score"], made["rank"] = read(method, result, readout)
    return EvaluatedImage(quality=item.mos if dataset.direction == "higher" else -item.mos, **made)


def evaluate(
    dataset: "Dataset | str | PathLike[str]",
    *,
    model: str | Backend = "nano",
    model_name: str | None = None,
    method: str | Method | Recipe = "paper",
    run: "str | PathLike[str] | None" = None,
    seed: int = 0,
    limit: int | None = None,
    readout: Readout = "exact",
    resamples: int = 1000,
    batch: int = 8,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    on_note: Callable[[str], None] = warnings.warn,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Score a dataset and correlate the scores with the human ones.

    If it is interrupted, the same call with the same run folder resumes; if it is complete, the model is not called
    again. Images that cannot be scored are rows with an error; they are counted, and not part of the correlation.

    Args:
        dataset: From `qdebias.load_dataset`, or the path of a label file.
        model: What `qdebias.load_backend` takes, or a backend that is already loaded.
        model_name: The argument of `qdebias.load_backend`, if `model` is already loaded; noted in the run folder.
        method: The name of a preset, or a method object.
        run: Folder for every answer of the model; see docs/runs.md. None keeps nothing.
        seed: Seed of the random degradations.
        limit: Take only this many images from the start of the dataset; the report states it.
        readout: How scores are read from logits, see `qdebias.evaluation.evidence`.
        resamples: Number of bootstrap resamples for the 95 % intervals; 0 for no intervals.
        batch: Number of images that the model gets at a time.
        max_pixels: Larger images are refused before they are decoded.
        max_side: See `qdebias.Scorer`; None scores images as they are.
        on_note: Called with each message about the run folder that a user should read, such as changed versions.
        on_progress: Called with the number of images that are done.

    Raises:
        SettingError: A setting is impossible, or too few images have a score for a correlation.
        StoreError: The run folder cannot be used.
        BackendError: The model cannot be loaded or cannot answer.
    """
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    data = data.first(limit)
    refuse_videos(data)
    scorer = Scorer(backend=model, method=method, seed=seed, batch=batch, max_pixels=max_pixels, max_side=max_side)
    spec = model_name or (model if isinstance(model, str) else type(model).__name__)
    with opened_run(run, scorer.fingerprint, spec, on_note) as folder:
        stored = StoredScorer(folder, scorer, total=len(data))
        for asked, _ in enumerate(stored.ask(data.paths), start=1):
            if on_progress is not None:
                on_progress(asked + stored.skipped)
        results = zip(data.items, stored.results(data.paths), strict=True)
        rows = [_evaluated(data, item, result, scorer.method, readout) for item, result in results]
    names = {"model": scorer.backend.fingerprint.identity.get("model", spec), "method": scorer.recipe.name}
    return make_report(data, rows, **names, seed=seed, readout=readout, resamples=resamples)


@contextmanager
def opened_run(
    run: "str | PathLike[str] | None", fingerprint: Fingerprint, model: str, on_note: Callable[[str], None]
) -> Iterator[Run]:
    """Open the run folder, or a temporary one, and pass on its notes."""
    with ExitStack() as stack:
        path = stack.enter_context(TemporaryDirectory(prefix="qdebias-")) if run is None else run
        folder = stack.enter_context(open_run(path, fingerprint, model=model))
        for note in folder.notes:
            on_note(note)
        yield folder
