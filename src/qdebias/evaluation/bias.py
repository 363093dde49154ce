"""The phenomenon that the method mitigates: what a model thinks of an image depends on what the image shows.

Offset at equal human score, Figure 1 of the paper: how much higher or lower are images of one content ranked than
images of the same human score are on average?

Exposure, section 3.2.1: how much a model resists calling severely degraded copies of an image poor. All copies are
about equally bad, so where P(good) of them under the vanilla question differs between images, content decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qdebias.degrade import kind_of
from qdebias.equations import FloatArray, equal_weight, expected
from qdebias.errors import SettingError
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.evaluation.table import NOTHING, Cell, Cells, Column, Number, Table
from qdebias.image import RgbImage
from qdebias.methods.method import QDebias
from qdebias.methods.plan import Answers, Context, Failure, Plan, Score
from qdebias.metrics.intervals import Resampling
from qdebias.prompts import VANILLA

KINDS = ("scene", "group", "subset")
"""By what images can be told to show different things, the most telling first."""

UNLABELLED = "unlabelled"
"""What images without a label are called."""

Members = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """How images of one content are ranked beside others of the same human score.

    Attributes:
        content: A scene, reference, prompt or subset.
        count: How many images show it.
        before: Offset under the first method, in -1 to 1: 0.1 is a tenth of all images too high.
        after: Offset under the second.
    """

    content: str
    count: int
    before: Number
    after: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """Offsets at equal human score before and after debiasing.

    Attributes:
        kind: By what contents are told apart, one of `KINDS`.
        offsets: Each content, the one that is ranked most too high before debiasing first.
        before: Spread before: root mean square over the images of the offset of their content.
        after: Spread after.
        change: after - before, with a paired interval; negative where debiasing helps.
        chance: Spread before that is expected of contents that mean nothing, given how many and how large they are.
    """

    kind: str
    offsets: tuple[Offset, ...]
    before: Number
    after: Number
    change: Number
    chance: float


def measure_bias(
    evidence: Evidence,
    *,
    before: str = "vanilla",
    after: str = "paper",
    kind: str | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Bias:
    """Return how far what images show decides how they are ranked, before and after debiasing.

    Ranks are taken over all images, 0 to 1. The rank that a human score deserves is an isotonic regression of the
    ranks on the human scores; an offset is the mean of what is left over one content.

    Args:
        evidence: Scores under both methods.
        before: Name of the method without debiasing.
        after: Name of the method with it.
        kind: One of `KINDS`; None takes the first that the dataset has.
        resamples: How many bootstrap resamples of images the 95 % intervals have; each fits the regression again.
        seed: Seed of the resamples.

    Raises:
        SettingError: A method was not run, or the dataset does not tell contents apart.
    """
    first, second = _order(evidence, before), _order(evidence, after)
    sound = np.isfinite(first) & np.isfinite(second)
    quality, columns = evidence.quality[sound], (first[sound], second[sound])
    kind, names = contents_of(evidence, kind)
    known, members = np.unique(np.array(names)[sound], return_inverse=True)
    if len(known) < 2:
        raise SettingError(
            f"{evidence.title}: all images with scores are of one {kind}, so there is nothing to compare"
        )
    whole = np.array([_offsets(column, quality, members, len(known)) for column in columns])
    draws = (draw for block in Resampling(count=resamples, seed=seed, level=0.95).draws(len(quality)) for draw in block)
    resampled = (np.repeat(np.arange(len(quality)), draw.astype(np.intp)) for draw in draws)
    found = [[_offsets(one[rows], quality[rows], members[rows], len(known)) for one in columns] for rows in resampled]
    drawn = np.array(found).reshape(-1, 2, len(known))
    counts = np.bincount(members)
    spread, drawn_spread = (np.sqrt((offsets**2) @ (counts / counts.sum())) for offsets in (whole, drawn))
    left = _residuals(columns[0], quality)
    return Bias(
        kind=kind,
        offsets=tuple(
            Offset(
                content=str(known[place]) or UNLABELLED,
                count=int(counts[place]),
                before=_number(whole[0, place], drawn[:, 0, place]),
                after=_number(whole[1, place], drawn[:, 1, place]),
            )
            for place in np.argsort(-whole[0], kind="stable")
        ),
        before=_number(spread[0], drawn_spread[:, 0], signed=False),
        after=_number(spread[1], drawn_spread[:, 1], signed=False),
        change=_number(spread[1] - spread[0], drawn_spread[:, 1] - drawn_spread[:, 0]),
        chance=float(np.sqrt(left.var() * (len(known) - 1) / len(quality))),
    )


def contents_of(evidence: Evidence, kind: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return by what a dataset tells contents apart, and (N,) the content of each image.

    Raises:
        SettingError: It does not, or not by the `kind` that was requested.
    """
    chosen = kind or next((one for one in KINDS if one in evidence.contents), "")
    if chosen not in evidence.contents:
        known = ", ".join(evidence.contents) or "none"
        raise SettingError(
            f"the labels of {evidence.title} tell no contents apart{f' by {kind}' if kind else ''}; "
            f"known (--by): {known}"
        )
    return chosen, evidence.contents[chosen]


def _order(evidence: Evidence, recipe: str) -> FloatArray:
    scores = evidence.results.get(recipe)
    if not isinstance(scores, Scores):
        raise SettingError(f"bias needs scores under the method {recipe}: {scores.reason if scores else 'not asked'}")
    return scores.order


def fractional_ranks(order: FloatArray) -> FloatArray:
    """Return (N,) rank of each image among all, between 0 and 1."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(order) - 0.5) / len(order), dtype=np.float64)


def deserved(ranks: FloatArray, quality: FloatArray) -> FloatArray:
    """Return (N,) the rank that images of a human score have on average: isotonic regression, ties joined first."""
    from scipy.optimize import isotonic_regression

    members = np.unique(quality, return_inverse=True)[1]
    counts = np.bincount(members)
    means = np.bincount(members, ranks) / counts
    fitted = isotonic_regression(means, weights=counts.astype(np.float64)).x
    return np.asarray(fitted[members], dtype=np.float64)


def _residuals(order: FloatArray, quality: FloatArray) -> FloatArray:
    ranks = fractional_ranks(order)
    return ranks - deserved(ranks, quality)


def _offsets(order: FloatArray, quality: FloatArray, members: Members, count: int) -> FloatArray:
    """Return (C,) mean residual of each content, 0 for one without images."""
    total = np.bincount(members, _residuals(order, quality), minlength=count)
    return np.asarray(total / np.maximum(np.bincount(members, minlength=count), 1), dtype=np.float64)


def _number(value: float, drawn: FloatArray, *, signed: bool = True) -> Number:
    if not len(drawn):
        return Number(value=float(value), signed=signed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Number(value=float(value), low=float(low), high=float(high), signed=signed)


def bias_table(
    evidence: Evidence,
    bias: Bias,
    *,
    before: str = "vanilla",
    after: str = "paper",
    exposure: Mapping[str, float] | None = None,
) -> Table:
    """Return a row a content: its offset before and after debiasing, and the spread of all."""
    columns = [Column(name=bias.kind.capitalize()), Column(name="Images"), Column(name="Exposure")]
    columns += [Column(name=name, group="Offset") for name in (before, after)]
    rows = []
    for offset in bias.offsets:
        known = (exposure or {}).get(offset.content)
        gap = NOTHING if known is None else Cell(content=Number(value=known))
        cells = (Cell(content=offset.content), Cell(content=str(offset.count)), gap)
        rows.append((*cells, Cell(content=offset.before), Cell(content=offset.after)))
    count = str(sum(offset.count for offset in bias.offsets))
    spread = (Cell(content="spread"), Cell(content=count), NOTHING, Cell(content=bias.before), Cell(content=bias.after))
    lines: list[Cells] = [*rows, spread]
    if exposure is None:
        del columns[2]
        lines = [(*line[:2], *line[3:]) for line in lines]
    notes = (
        f"Measured: model {evidence.model}, seed {evidence.seed}, {evidence.summary}.",
        "Offset: mean rank of the images of one content, 0 to 1 over all images, minus the rank that images of the "
        "same human score have on average (isotonic regression); 0.1 is a tenth of all images too high. In brackets: "
        "95 % bootstrap intervals over images.",
        f"Spread: root mean square offset over the images; {bias.chance:.3f} is expected by chance under {before}. "
        f"{after} minus {before}: {bias.change}.",
    )
    title = f"{evidence.title}: what images show against how they are ranked"
    return Table(title=title, columns=tuple(columns), rows=tuple(lines), notes=notes)


_ALONE = QDebias(quality=VANILLA, weigh=equal_weight, contrast=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A method whose value is no quality but how much bias an image exposes; it fits `qdebias.methods.method.Method`.

    Attributes:
        base: Asks about the image and about each degraded copy, on its own.
    """

    base: QDebias = _ALONE

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Ask about the image, then about each degraded copy."""
        return self.base.plan(image, context)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Return the mean P(good) of the copies; `good` has each of them, `logits` the image's own first."""
        score = self.base.combine(plan, answers)
        return replace(score, value=float(score.good.mean()), probabilities={}, deviation=None)

    def read(self, logits: FloatArray) -> float:
        """Return P(good), eq. (1)."""
        return float(expected(logits, self.base.quality.values).p[0])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The degradations by name, in the order of `Score.good`."""
        return tuple(map(kind_of, self.base.degradations))


def exposure_table(names: Iterable[str], results: Iterable[Score | Failure], method: Exposure, *, title: str) -> Table:
    """Return a row an image: P(good) of itself and of each copy, and the mean of the copies."""
    columns = [Column(name="Image"), Column(name="itself", group="P(good)")]
    columns += [*(Column(name=kind, group="P(good)") for kind in method.kinds), Column(name="Exposure")]
    rows = []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, Failure):
            failed = Cell(content="failed", notes=(result.error,))
            rows.append((Cell(content=name), *[failed] * (len(columns) - 1)))
            continue
        values = [method.read(result.logits[0][0]), *result.good.tolist(), result.value]
        rows.append((Cell(content=name), *(Cell(content=Number(value=value)) for value in values)))
    note = (
        f"P(good) under the question {method.base.quality.text!r}, of the image and of each degraded copy. Exposure is "
        f"the mean over the copies: 0 where the model calls all of them poor, whatever they show."
    )
    return Table(title=title, columns=tuple(columns), rows=tuple(rows), notes=(note,))


def exposure_by_content(evidence: Evidence, results: Sequence[Score | Failure], kind: str | None) -> dict[str, float]:
    """Return the mean exposure of the images of each content."""
    values: dict[str, list[float]] = {}
    for content, result in zip(contents_of(evidence, kind)[1], results, strict=True):
        if isinstance(result, Score):
            values.setdefault(content or UNLABELLED, []).append(result.value)
    return {content: float(np.mean(found)) for content, found in values.items()}
