"""One row an image: its human score, ours, and the logits that ours was computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from qdebias.evaluation.readout import Readout, read
from qdebias.inputs.datasets import Dataset, Item
from qdebias.methods.method import Method, Score
from qdebias.methods.plan import Failure
from qdebias.runs.records import Row, plain_logits


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedImage(Row):
    """An image of a dataset with both scores.

    Attributes:
        path: The image, relative to the dataset's root.
        mos: Human score as the labels have it.
        quality: The same with higher always better.
        score: Our score, higher is better; None where it failed.
        rank: What SRCC and KRCC rank, see `qdebias.evaluation.readout`; None where it failed.
        error: Why it failed; None where it did not.
        split: The dataset's split, subset, scene and group of the image, as far as it has such.
        subset: Likewise.
        scene: Likewise.
        group: Likewise.
        good: P(good) under each condition.
        same: P(same object) of each condition; empty where it was not asked.
        weight: Weight of each condition.
        spread: Standard deviation of the score over seeds of the noise; None for a method with one seed.
        deviation: Standard deviation of the options' values, see `qdebias.methods.method.Score`.
        probabilities: Probability of each option by its word; the columns are called p_ and the word.
        logits: For each request, for each of its questions, the logits of its options as the model gave them.
    """

    path: str
    mos: float
    quality: float
    score: float | None
    rank: float | None
    error: str | None
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
    logits: tuple[tuple[tuple[float, ...], ...], ...] = ()


def evaluated(
    dataset: Dataset, item: Item, result: Score | Failure, method: Method, readout: Readout
) -> EvaluatedImage:
    """Return the row of one result."""
    row = EvaluatedImage(
        path=item.path,
        mos=item.mos,
        quality=item.mos if dataset.direction == "higher" else -item.mos,
        score=None,
        rank=None,
        error=None,
        split=item.split,
        subset=item.subset,
        scene=item.scene,
        group=item.group,
    )
    if isinstance(result, Failure):
        return replace(row, error=result.error)
    reading = read(method, result, readout)
    return replace(
        row,
        score=reading.score,
        rank=reading.rank,
        good=tuple(result.good.tolist()),
        same=tuple(result.same.tolist()),
        weight=tuple(result.weight.tolist()),
        spread=result.spread,
        deviation=result.deviation,
        probabilities=result.probabilities,
        logits=plain_logits(result),
    )
