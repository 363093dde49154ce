"""The tables of the paper with our numbers beside the printed ones."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from qdebias.evaluation import published
from qdebias.evaluation.agreement import Agreements, agreement_cells
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.evaluation.method_scores import PREFIX
from qdebias.evaluation.published import LATER, SOURCE, TITLES, Printed, PublishedRow
from qdebias.evaluation.table import NOTHING, Cell, Cells, Column, Number, Table

ABLATIONS: Mapping[str, tuple[str, tuple[str, ...], tuple[PublishedRow, ...]]] = {
    "table3": (
        "Table 3: which conditional images",
        ("Exp.", "Zoom", "Spatter", "Fog", "Saturation", "Semantic consistency"),
        published.TABLE3,
    ),
    "table4": ("Table 4: the instructive prompt", ("Prompt",), published.TABLE4),
    "table5": ("Table 5: the aggregation", ("Aggregation",), published.TABLE5),
}
"""Title, first columns and rows of the tables whose rows are methods."""

TABLE1_MEASURED: Mapping[str, str] = {
    "qbench": "Q-Bench prompt",
    "qbench-t100": "Q-Bench prompt, T = 100",
    "vanilla": "Vanilla prompt, eq. (1)",
    "paper": "Q-Debias",
}

TABLES = ("table1", "table2", *ABLATIONS)


def needed(table: str, dataset: str) -> tuple[str, ...]:
    """Return the methods that a table is made of, `paper` first: what the others need is asked with it."""
    if table == "table1":
        spatter = ("only-spatter",) if dataset == "siqad" else ()
        return ("paper", *(name for name in TABLE1_MEASURED if name != "paper"), *spatter)
    if table == "table2":
        return ("paper", "vanilla")
    return ("paper", *(row.recipe for row in ABLATIONS[table][2] if row.recipe != "paper"))


def build(table: str, measured: Sequence[Agreements]) -> Table:
    """Return a table of the paper: what it prints, and what was measured."""
    if table == "table1":
        return _table1(measured)
    if table == "table2":
        return _table2(measured)
    return _ablation(table, measured)


def _ablation(table: str, measured: Sequence[Agreements]) -> Table:
    title, heads, rows = ABLATIONS[table]
    datasets = [dataset for dataset in _datasets(measured) if any(dataset in row.values for row in rows)]
    columns = [Column(name=head) for head in heads]
    for one in measured:
        group = f"{one.evidence.title}, {one.evidence.model}"
        columns += [Column(name=name, group=group) for name in ("SRCC", "PLCC", "ΔSRCC", "ΔPLCC")]
    for dataset in datasets:
        columns += [Column(name=name, group=f"{TITLES[dataset]}, paper") for name in ("SRCC", "PLCC")]
    lines = []
    for row in rows:
        cells = [Cell(content=text) for text in (row.name, *row.settings)]
        for one in measured:
            gain = None if row.recipe == "paper" else one.gain(row.recipe, "paper")
            cells += [*agreement_cells(one.of(row.recipe)), *agreement_cells(gain)]
        for dataset in datasets:
            cells += _printed(row.values.get(dataset), _later(row, dataset))
        lines.append(tuple(cells))
    delta = "ΔSRCC and ΔPLCC: minus Q-Debias on the same images, with a paired bootstrap interval."
    return Table(title=title, columns=tuple(columns), rows=tuple(lines), notes=(delta, *remarks(measured, rows)))


def _table1(measured: Sequence[Agreements]) -> Table:
    datasets = _datasets(measured)
    columns = [Column(name="Method"), Column(name="Numbers from"), Column(name="Trained on")]
    columns += [Column(name=name, group=_title(measured, dataset)) for dataset in datasets for name in ("SRCC", "PLCC")]
    printed, after = (
        [row for row in rows if any(dataset in row.values for dataset in datasets)]
        for rows in ((*published.RIVALS, *published.TABLE1_OURS), published.AFTER)
    )

    def line(names: Sequence[str], found: Callable[[str], Sequence[Cell]]) -> Cells:
        return (*(Cell(content=name) for name in names), *(cell for dataset in datasets for cell in found(dataset)))

    def of_paper(row: PublishedRow, source: str) -> Cells:
        return line((row.name, source, row.training or "nothing"), lambda name: _printed(row.values.get(name)))

    lines = [of_paper(row, SOURCE[row.version]) for row in printed]
    for model in dict.fromkeys(one.evidence.model for one in measured):
        held = {one.evidence.dataset: one for one in measured if one.evidence.model == model}
        rivals = dict.fromkeys(
            name for one in held.values() for name in one.evidence.results if name.startswith(PREFIX)
        )
        spatter = {"only-spatter": "Q-Debias, spatter only"} if "siqad" in held else {}
        for recipe, name in {**{one: one.removeprefix(PREFIX) for one in rivals}, **TABLE1_MEASURED, **spatter}.items():
            source = "measured, pyiqa" if recipe in rivals else f"measured, {model}"
            lines.append(line((name, source, ""), partial(_measured, held, recipe)))
        gain = ("Q-Debias minus Q-Bench prompt", f"measured, {model}", "")
        lines.append(line(gain, partial(_measured, held, "paper", "qbench")))
    lines += [of_paper(row, f"after the paper: {row.source}") for row in after]
    notes = (*remarks(measured, printed), *([published.AFTER_NOTE] if after else []))
    return Table(title="Table 1: comparison of methods", columns=tuple(columns), rows=tuple(lines), notes=notes)


def _measured(held: Mapping[str, Agreements], recipe: str, *base: str) -> tuple[Cell, Cell]:
    """Return the agreement of a method on the last dataset that is named, minus that of a base before it, if any."""
    *others, dataset = base
    if dataset not in held:
        return NOTHING, NOTHING
    return agreement_cells(held[dataset].gain(recipe, others[0]) if others else held[dataset].of(recipe))


def _table2(measured: Sequence[Agreements]) -> Table:
    datasets = _datasets(measured)
    columns = [Column(name="Model"), Column(name="Numbers from")]
    for dataset in datasets:
        for part in ("vanilla prompt", "Q-Debias", "gain"):
            group = f"{_title(measured, dataset)}, {part}"
            columns += [Column(name=name, group=group) for name in ("SRCC", "PLCC")]
    printed = [row for row in published.TABLE2 if any(dataset in row.values for dataset in datasets)]
    lines: list[Cells] = []
    for row in printed:
        cells = [Cell(content=row.name), Cell(content=SOURCE[row.version])]
        lines.append((*cells, *(cell for dataset in datasets for cell in _printed_model(row, dataset))))
    for model in dict.fromkeys(one.evidence.model for one in measured):
        cells = [Cell(content=model), Cell(content="measured")]
        for dataset in datasets:
            found = [one for one in measured if (one.evidence.model, one.evidence.dataset) == (model, dataset)]
            for one in found[:1]:
                agreements = one.of("vanilla"), one.of("paper"), one.gain("paper", "vanilla")
                cells += [cell for agreement in agreements for cell in agreement_cells(agreement)]
            cells += [] if found else [NOTHING] * 6
        lines.append(tuple(cells))
    notes = remarks(measured, printed)
    return Table(title="Table 2: other language models", columns=tuple(columns), rows=tuple(lines), notes=notes)


def _printed_model(row: PublishedRow, dataset: str) -> list[Cell]:
    vanilla, debiased = row.vanilla.get(dataset), row.values.get(dataset)
    cells = [*_printed(vanilla), *_printed(debiased)]
    if vanilla is None or debiased is None:
        return [*cells, NOTHING, NOTHING]
    gains = (debiased.srcc - vanilla.srcc, debiased.plcc - vanilla.plcc)
    note = (vanilla.note,) if vanilla.note else ()
    return [*cells, *(Cell(content=Number(value=gain, signed=True), notes=note) for gain in gains)]


def _printed(printed: Printed | None, later: str = "") -> tuple[Cell, Cell]:
    if printed is None:
        return NOTHING, NOTHING
    notes = tuple(filter(None, (printed.note, later)))
    srcc, plcc = (Cell(content=Number(value=value), notes=notes) for value in (printed.srcc, printed.plcc))
    return srcc, plcc


def _later(row: PublishedRow, dataset: str) -> str:
    """Say where the later version prints something else for Q-Debias."""
    for other in published.TABLE1_OURS:
        new, old = other.values.get(dataset), row.values.get(dataset)
        if other.version == LATER and other.recipe == row.recipe and new and old:
            same = (new.srcc, new.plcc) == (old.srcc, old.plcc)
            return "" if same else f"{SOURCE[LATER]} prints {new.srcc:.3f} and {new.plcc:.3f} here."
    return ""


def _datasets(measured: Iterable[Agreements]) -> list[str]:
    """Return the datasets, those of the paper first and in its order."""
    found = dict.fromkeys(one.evidence.dataset for one in measured)
    return [name for name in TITLES if name in found] + [name for name in found if name not in TITLES]


def _title(measured: Iterable[Agreements], dataset: str) -> str:
    return next(one.evidence.title for one in measured if one.evidence.dataset == dataset)


_PAPER = (
    f"Printed numbers: {SOURCE[published.FIRST]}, of mPLUG-Owl3 where no other model is named, without intervals. The "
    f"paper names no checkpoint; its released code loads mPLUG-Owl3-7B-240728."
)
_PRESETS = (
    "Measured with the questions and degradations that the paper describes; what the authors' released code does "
    "otherwise is the method `released`."
)
_INTERVALS = (
    "In brackets: 95 % bootstrap intervals, {resampled}. SRCC ranks the log-odds of the scores; PLCC is of the scores "
    "themselves, T = 1, without a logistic fit."
)


def remarks(measured: Sequence[Agreements], printed: Sequence[PublishedRow]) -> tuple[str, ...]:
    """Return the notes on a whole table."""
    evidences = [one.evidence for one in measured]
    known = {dataset for row in printed for dataset in row.values}
    notes = [note for evidence in evidences for note in _about(evidence)]
    for evidence in evidences:
        if evidence.dataset not in known:
            where = " in this table" if evidence.dataset in TITLES and known else ""
            notes.append(f"The paper has no numbers for {evidence.title}{where}; they are ours alone.")
    resampled = {
        "over images" if evidence.groups is None else "over groups of images that share their content"
        for evidence in evidences
    }
    notes.append(_INTERVALS.format(resampled=" or ".join(sorted(resampled))))
    if any(evidence.dataset in known for evidence in evidences):
        notes.append(_PAPER)
    return tuple(dict.fromkeys([*notes, _PRESETS]))


def _about(evidence: Evidence) -> list[str]:
    notes = [f"Measured: model {evidence.model}, seed {evidence.seed}, {evidence.summary}.", *evidence.notes]
    failed = {name: scores.failed for name, scores in evidence.results.items() if isinstance(scores, Scores)}
    missing = sorted(name for name, count in failed.items() if count)
    if missing:
        notes.append(
            f"{evidence.title}, {evidence.model}: {max(failed.values())} of {len(evidence.names)} images have no score "
            f"and are left out, of {', '.join(missing)}."
        )
    return notes
