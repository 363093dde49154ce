"""Methods beside each other on the same images: agreement with people, which difference is chance, and the cost."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdebias.errors import SettingError
from qdebias.evaluation.agreement import Agreement, Agreements, agreement_cells
from qdebias.evaluation.evidence import Evidence, NotRun
from qdebias.evaluation.table import Cell, Cells, Column, Number, Table
from qdebias.methods.outline import Outline, cost_of, outline_of
from qdebias.methods.recipe import Recipe
from qdebias.runs.derive import known_pixels
from qdebias.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was spent on a method; None where its questions are not known before the images are seen.

    Attributes:
        forwards: How many questions it asks about one image, each a forward pass.
        asked: How many the model was asked for it in this call: those that neither the run held, nor a method that is
            listed before it asks.
        rate: How many images a second the model answers all questions of this method about, whatever else is asked:
            measured on the images of which all of them were asked in this call. None where there are none.
    """

    forwards: int | None = None
    asked: int | None = None
    rate: float | None = None


def usage_of(
    run: Run, recipes: Sequence[Recipe], paths: Sequence[Path], seconds: Mapping[str, float], *, seed: int
) -> dict[str, Usage]:
    """Return what was spent on each method."""
    left, found = set(seconds), {}
    for recipe in recipes:
        outline, cost = outline_of(recipe.method), cost_of(recipe.method)
        if outline is None or cost is None:
            found[recipe.name] = Usage()
            continue
        images = list(_keys(run, outline, paths, seed)) if seconds else []
        own = left.intersection(itertools.chain.from_iterable(images))
        left -= own
        timed = [sum(seconds[key] for key in keys) for keys in images if keys and all(key in seconds for key in keys)]
        rate = len(timed) / sum(timed) if sum(timed) > 0 else None
        found[recipe.name] = Usage(forwards=cost.forwards, asked=len(own), rate=rate)
    return found


def _keys(run: Run, outline: Outline, paths: Sequence[Path], seed: int) -> Iterator[list[str]]:
    """Yield the keys of the questions about each image."""
    for path in paths:
        pixels = known_pixels(run, str(path.absolute()), seed=seed)
        if pixels is not None:
            rows = outline.keys(run.identity, pixels.image, pixels.conditions) or ()
            yield [key for row in rows for key in row]


BEST = "best"
"""In place of a method's name: the one with the highest SRCC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One method of a comparison.

    Attributes:
        name: Its name.
        agreement: SRCC and PLCC, or why there are none.
        gain: SRCC and PLCC minus those of the base, on the images that both have scores of; None for the base itself.
        usage: What was spent on it; all None where there was no model.
    """

    name: str
    agreement: Agreement | NotRun
    gain: Agreement | NotRun | None
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Methods beside each other.

    Attributes:
        evidence: Their scores, and what people said.
        against: The method that the differences are to.
        methods: In the order in which they were named.
        asked: How many questions the model was asked for it; None where there was no model.
    """

    evidence: Evidence
    against: str
    methods: tuple[Compared, ...]
    asked: int | None

    def table(self) -> Table:
        """Return the comparison as a table."""
        heads = ["Method", "SRCC", "PLCC", "ΔSRCC", "ΔPLCC", "Images"]
        if self.asked is not None:
            heads += ["Forward passes", "Questions asked", "Images/s"]
        notes = [
            f"ΔSRCC and ΔPLCC: minus {self.against} on the same images, with paired 95 % bootstrap intervals.",
            self.evidence.summary,
        ]
        if self.asked is not None:
            notes.append(
                f"{self.asked:,} questions were asked; the other answers were stored, or shared by another method. "
                f"Images/s: while the model answered, over the images of which all of a method's questions were asked."
            )
        return Table(
            title=f"{self.evidence.title}, {self.evidence.model}",
            columns=tuple(Column(name=head) for head in heads),
            rows=tuple(self._row(one) for one in self.methods),
            notes=(*notes, *self.evidence.notes),
        )

    def values(self) -> dict[str, Any]:
        """Return the comparison as plain values, without paths and times; what is not defined is None."""
        return {
            "dataset": self.evidence.dataset,
            "summary": self.evidence.summary,
            "model": self.evidence.model,
            "seed": self.evidence.seed,
            "against": self.against,
            "asked": self.asked,
            "methods": [_values(one) for one in self.methods],
        }

    def json(self) -> str:
        """Return `values` as one line of JSON."""
        return json.dumps(self.values(), ensure_ascii=False, allow_nan=False)

    def _row(self, one: Compared) -> Cells:
        cells = [Cell(content=one.name), *agreement_cells(one.agreement), *agreement_cells(one.gain)]
        count = str(one.agreement.count) if isinstance(one.agreement, Agreement) else None
        cells.append(Cell(content=count))
        if self.asked is not None:
            numbers = (one.usage.forwards, one.usage.asked)
            cells += [Cell(content=None if number is None else str(number)) for number in numbers]
            cells.append(Cell(content=None if one.usage.rate is None else f"{one.usage.rate:.3g}"))
        return tuple(cells)


def compare(
    agreements: Agreements,
    methods: Sequence[str],
    *,
    against: str | None = None,
    usage: Mapping[str, Usage] | None = None,
    asked: int | None = None,
) -> Comparison:
    """Compare methods on the images of an evidence.

    Args:
        agreements: Their agreement with people.
        methods: Keys of `Evidence.results`, in the order in which they are to be listed.
        against: The method that the differences are to, or `BEST`; None: the first.
        usage: What was spent on each method, where a model was asked.
        asked: How many questions the model was asked in all.

    Raises:
        SettingError: There is no method, one of them twice, or `against` is none of them.
    """
    check(methods, against, least=1)
    base = against or methods[0]
    if base == BEST:
        found = {name: one.srcc.value for name in methods if isinstance(one := agreements.of(name), Agreement)}
        base = max(found, key=lambda name: found[name], default=methods[0])
    return Comparison(
        evidence=agreements.evidence,
        against=base,
        methods=tuple(
            Compared(
                name=name,
                agreement=agreements.of(name),
                gain=None if name == base else agreements.gain(name, base),
                usage=(usage or {}).get(name, Usage()),
            )
            for name in methods
        ),
        asked=asked,
    )


def check(methods: Sequence[str], against: str | None, *, least: int = 2) -> None:
    """Refuse what cannot be compared, before anything is asked; see `compare`."""
    if len(methods) < least or len(set(methods)) < len(methods):
        raise SettingError(f"a comparison needs two or more different methods, got {', '.join(methods) or 'none'}")
    if against not in (None, BEST, *methods):
        raise SettingError(
            f"the differences cannot be to {against!r}, which is not compared; "
            f"choose {BEST} or one of {', '.join(methods)}"
        )


def _values(one: Compared) -> dict[str, Any]:
    values: dict[str, Any] = {"method": one.name}
    for suffix, found in (("", one.agreement), ("_difference", one.gain)):
        agreement = found if isinstance(found, Agreement) else None
        for measure in ("srcc", "plcc"):
            number: Number | None = getattr(agreement, measure, None)
            values[f"{measure}{suffix}"] = None if number is None else number.value
            values[f"{measure}{suffix}_interval"] = (
                None if number is None or number.low is None else [number.low, number.high]
            )
    values["count"] = one.agreement.count if isinstance(one.agreement, Agreement) else 0
    values["reason"] = one.agreement.reason if isinstance(one.agreement, NotRun) else None
    return values | {"forwards": one.usage.forwards, "asked": one.usage.asked, "images_per_second": one.usage.rate}
