"""The bias that the method mitigates: a model's score of an image depends on the content of the image.

Offset at equal human score, Figure 1 of the paper: how much higher or lower images of one content are ranked than the
average image of the same human score. Exposure, section 3.2.1: P(good) under the vanilla question of severely degraded
copies of an image. All copies are about equally bad, so differences between images come from their content.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qdebias.degrade import kind_of
from qdebias.equations import FloatArray, equal_weight, expected
from qdebias.errors import SettingError
from qdebias.evaluation.evidence import Evidence, number_of
from qdebias.evaluation.table import Cell, Column, Number, Table
from qdebias.image import RgbImage
from qdebias.methods.method import QDebias
from qdebias.methods.plan import Answers, Context, Failure, Plan, Score
from qdebias.metrics.intervals import Resampling
from qdebias.prompts import VANILLA

KINDS = ("scene", "group", "subset")
"""Labels that describe the content of images, the most specific first."""

UNLABELLED = "unlabelled"
"""The content of images without a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """How far the `count` images of a content are ranked too high under two methods; 0.1 is a tenth of all images."""

    content: str
    count: int
    before: Number
    after: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """Offsets at equal human score under two methods, in descending order of the offset under the first.

    The spread (`before`, `after`) is the root mean square over the images of the offset of their content, `chance` the
    expected spread before if contents had no effect; `change` is after - before, with a paired interval.
    """

    kind: str
    methods: tuple[str, str]
    offsets: tuple[Offset, ...]
    before: Number
    after: Number
    change: Number
    chance: float


def measure_bias(
    evidence: Evidence, *, before: str = "vanilla", after: str = "paper", kind: str | None = None, resamples: int = 500
) -> Bias:
    """Return how far the content of images determines their ranks, before and after debiasing.

    Ranks are over all images, 0 to 1. An isotonic regression of the ranks on the human scores gives the expected rank;
    an offset is the mean residual of one content. The 95 % intervals are from bootstrap resamples of images, each with
    a regression of its own. `kind` is one of `KINDS`, by default the first that the dataset has.
    """
    first, second = (evidence.scores(name, "bias").order for name in (before, after))
    sound = np.isfinite(first) & np.isfinite(second)
    quality, columns = evidence.quality[sound], (first[sound], second[sound])
    kind, names = contents_of(evidence, kind)
    known, members, counts = np.unique(np.array(names)[sound], return_inverse=True, return_counts=True)
    if len(known) < 2:
        raise SettingError(
            f"{evidence.title}: all images with scores are of one {kind}, so there is nothing to compare"
        )

    def offsets(rows: npt.NDArray[np.intp]) -> FloatArray:
        """Return (2, C) mean residual of each content under each method, 0 for a content without images."""
        chosen = members[rows]
        totals = [np.bincount(chosen, _residuals(one[rows], quality[rows]), len(known)) for one in columns]
        return np.array(totals) / np.maximum(np.bincount(chosen, minlength=len(known)), 1)

    everything = np.arange(len(quality))
    draws = (draw for block in Resampling(count=resamples, seed=0, level=0.95).draws(len(quality)) for draw in block)
    resampled = (np.repeat(everything, draw.astype(np.intp)) for draw in draws)
    found = np.array([offsets(rows) for rows in (everything, *resampled)])
    spread = np.sqrt((found**2) @ (counts / counts.sum()))
    return Bias(
        kind=kind,
        methods=(before, after),
        offsets=tuple(
            Offset(
                content=str(known[place]),
                count=int(counts[place]),
                before=number_of(found[:, 0, place]),
                after=number_of(found[:, 1, place]),
            )
            for place in np.argsort(-found[0, 0], kind="stable")
        ),
        before=number_of(spread[:, 0], signed=False),
        after=number_of(spread[:, 1], signed=False),
        change=number_of(spread[:, 1] - spread[:, 0]),
        chance=float(np.sqrt(_residuals(columns[0], quality).var() * (len(known) - 1) / len(quality))),
    )


def contents_of(evidence: Evidence, kind: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the kind of label that describes contents, and (N,) the content of each image or `UNLABELLED`."""
    chosen = kind or next((one for one in KINDS if one in evidence.contents), "")
    if chosen not in evidence.contents:
        known = ", ".join(evidence.contents) or "none"
        raise SettingError(
            f"the labels of {evidence.title} do not group the images by {kind or 'content'}; known (--by): {known}"
        )
    return chosen, tuple(name or UNLABELLED for name in evidence.contents[chosen])


def fractional_ranks(order: FloatArray) -> FloatArray:
    """Return (N,) rank of each image among all, between 0 and 1."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(order) - 0.5) / len(order), dtype=np.float64)


def deserved(ranks: FloatArray, quality: FloatArray) -> FloatArray:
    """Return (N,) the expected rank of each human score: isotonic regression, after averaging over ties."""
    from scipy.optimize import isotonic_regression

    members = np.unique(quality, return_inverse=True)[1]
    counts = np.bincount(members)
    means = np.bincount(members, ranks) / counts
    fitted = isotonic_regression(means, weights=counts.astype(np.float64)).x
    return np.asarray(fitted[members], dtype=np.float64)


def _residuals(order: FloatArray, quality: FloatArray) -> FloatArray:
    ranks = fractional_ranks(order)
    return ranks - deserved(ranks, quality)


def bias_table(evidence: Evidence, bias: Bias, exposure: Mapping[str, float] | None = None) -> Table:
    """Return a row for each content, with its offset before and after debiasing, and the spread of all."""
    shown = exposure is not None
    columns = [Column(bias.kind.capitalize()), Column("Images"), *([Column("Exposure")] if shown else [])]
    columns += [Column(name, "Offset") for name in bias.methods]
    known, (before, after) = exposure or {}, bias.methods
    rows = []
    for one in bias.offsets:
        gap = [Number(known[one.content]) if one.content in known else None] if shown else []
        rows.append(tuple(map(Cell, (one.content, str(one.count), *gap, one.before, one.after))))
    count = str(sum(offset.count for offset in bias.offsets))
    rows.append(tuple(map(Cell, ("spread", count, *([None] if shown else []), bias.before, bias.after))))
    notes = (
        f"Measured: model {evidence.model}, seed {evidence.seed}, {evidence.summary}.",
        "Offset: mean rank of the images of one content, 0 to 1 over all images, minus the rank that images of the "
        "same human score have on average (isotonic regression); 0.1 is a tenth of all images too high. In brackets: "
        "95 % bootstrap intervals over images.",
        f"Spread: root mean square offset over the images; {bias.chance:.3f} is expected by chance under {before}. "
        f"{after} minus {before}: {bias.change}.",
    )
    title = f"{evidence.title}: rank offsets by image content"
    return Table(title=title, columns=tuple(columns), rows=tuple(rows), notes=notes)


_ALONE = QDebias(quality=VANILLA, weigh=equal_weight, contrast=1.0)
"""Asks about the image and about each degraded copy separately."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A `qdebias.methods.method.Method` whose value is the exposure of an image instead of its quality."""

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Ask about the image, then about each degraded copy."""
        return _ALONE.plan(image, context)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Return the mean P(good) of the copies; `good` has one for each, `logits` those of the image first."""
        score = _ALONE.combine(plan, answers)
        return replace(score, value=float(score.good.mean()), probabilities={}, deviation=None)


EXPOSED = ("itself", *map(kind_of, _ALONE.degradations))
"""The images whose P(good) `exposed` returns."""


def exposed(score: Score) -> list[float]:
    """Return P(good), eq. (1), of an image and of each copy, from its score under `Exposure`."""
    return [float(expected(score.logits[0][0], VANILLA.values).p[0]), *score.good.tolist()]


def exposure_table(names: Iterable[str], results: Iterable[Score | Failure], *, title: str) -> Table:
    """Return a row for each image: its P(good), that of each copy, and the mean of the copies."""
    columns = [Column("Image"), *(Column(kind, "P(good)") for kind in EXPOSED), Column("Exposure")]
    rows = []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, Failure):
            failed = Cell("failed", (result.error,))
            rows.append((Cell(name), *[failed] * (len(columns) - 1)))
            continue
        rows.append((Cell(name), *(Cell(Number(value)) for value in (*exposed(result), result.value))))
    note = (
        f"P(good) under the question {VANILLA.text!r}, of the image and of each degraded copy. Exposure is "
        f"the mean over the copies: 0 if the model calls all of them poor, whatever their content."
    )
    return Table(title=title, columns=tuple(columns), rows=tuple(rows), notes=(note,))


def exposure_by_content(evidence: Evidence, results: Sequence[Score | Failure], kind: str | None) -> dict[str, float]:
    """Return the mean exposure of the images of each content."""
    values: dict[str, list[float]] = {}
    for content, result in zip(contents_of(evidence, kind)[1], results, strict=True):
        if isinstance(result, Score):
            values.setdefault(content, []).append(result.value)
    return {content: float(np.mean(found)) for content, found in values.items()}
