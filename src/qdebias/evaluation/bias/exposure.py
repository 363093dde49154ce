"""Exposure, section 3.2.1 of the paper: how much a model resists calling severely degraded copies of an image poor.

Copies of every image are about equally bad. So where P(good) of the copies under the vanilla question differs between
images, it is their content that decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from qdebias.degrade import Degradation, kind_of
from qdebias.equations import FloatArray, expected
from qdebias.evaluation.bias.offsets import UNLABELLED, contents_of
from qdebias.evaluation.tables.evidence import Evidence
from qdebias.evaluation.tables.table import Cell, Column, Number, Table
from qdebias.image import RgbImage
from qdebias.methods.method import Answers, Context, Plan, Score, make_condition
from qdebias.methods.plan import Failure
from qdebias.methods.presets import PAPER, VANILLA
from qdebias.prompts import Placement, Question, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A method whose value is no quality but how much bias an image exposes; it fits `qdebias.methods.method.Method`.

    Attributes:
        question: What is asked about the image and about each degraded copy, on its own.
        degradations: How the copies are made.
        placement: Whether the image comes before or after the question.
    """

    question: Question = VANILLA
    degradations: tuple[Degradation, ...] = PAPER.degradations
    placement: Placement = "before"

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Ask about the image, then about each degraded copy."""
        key = context.key(image)
        made = tuple(make_condition(one, image, seed=context.seed, key=key) for one in self.degradations)
        shown = [image, *(condition.image for condition in made)]
        requests = tuple(Request(images=(one,), questions=(self.question,), placement=self.placement) for one in shown)
        return Plan(requests=requests, conditions=made)

    def combine(self, plan: Plan, answers: Answers) -> Score:  # noqa: ARG002 (the pixels have had their say)
        """Return the mean P(good) of the copies; `good` has each of them, `logits` the image's own first."""
        good = np.array([self.read(answer[0]) for answer in answers[1:]])
        weight = np.full(len(good), 1.0 / len(good))
        return Score(
            value=float(good.mean()), good=good, same=np.empty(0), weight=weight, logits=tuple(map(tuple, answers))
        )

    def read(self, logits: FloatArray) -> float:
        """Return P(good), eq. (1)."""
        return float(expected(logits, self.question.values).p[0])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The degradations by name, in the order of `Score.good`."""
        return tuple(map(kind_of, self.degradations))


def exposure_table(names: Iterable[str], results: Iterable[Score | Failure], method: Exposure, *, title: str) -> Table:
    """Return a row an image: P(good) of itself and of each copy, and the mean of the copies.

    Args:
        names: The images.
        results: Their scores under `method`, or why they have none.
        method: What was asked.
        title: What stands above.
    """
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
        f"P(good) under the question {method.question.text!r}, of the image and of each degraded copy. Exposure is the "
        f"mean over the copies: 0 where the model calls all of them poor, whatever they show."
    )
    return Table(title=title, columns=tuple(columns), rows=tuple(rows), notes=(note,))


def exposure_by_content(evidence: Evidence, results: Sequence[Score | Failure], kind: str | None) -> dict[str, float]:
    """Return the mean exposure of the images of each content.

    Args:
        evidence: The dataset.
        results: (N,) scores of its images under `Exposure`.
        kind: By what contents are told apart; see `contents_of`.
    """
    values: dict[str, list[float]] = {}
    for content, result in zip(contents_of(evidence, kind)[1], results, strict=True):
        if isinstance(result, Score):
            values.setdefault(content or UNLABELLED, []).append(result.value)
    return {content: float(np.mean(found)) for content, found in values.items()}
