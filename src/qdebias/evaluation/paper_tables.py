"""The tables of the paper with measured numbers beside the printed ones, and the scores that they are made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from qdebias.errors import ImageError, MissingPackageError, SettingError
from qdebias.evaluation import published
from qdebias.evaluation.evidence import Agreements, Evidence, Scores, load_all, save
from qdebias.evaluation.method_scores import ModelRun, recall, with_all_methods
from qdebias.evaluation.published import LATER, SOURCE, TITLES, PublishedRow
from qdebias.evaluation.table import Agreement, Cell, Column, Number, Table
from qdebias.image import load_image
from qdebias.inputs.datasets import Dataset
from qdebias.metrics.packages import load_rival
from qdebias.runs.run import open_snapshot
from qdebias.system.named import nearest

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
FIGURES = ("figure1", "figure4")

BIAS = "bias"
"""Instead of a table: the offsets of `qdebias.evaluation.bias`."""

PLAIN = "qbench"
"""The method whose bias the figures show: the paper made them with the prompt of Q-Bench."""

PREFIX = "rival "
"""Before the name of a pyiqa metric in `Evidence.results`."""


def recipes_of(what: str, dataset: str) -> tuple[str, ...]:
    """Return the methods of a table or figure; `paper` comes first, as its questions contain those of others."""
    if what in ABLATIONS:
        return ("paper", *(row.recipe for row in ABLATIONS[what][2] if row.recipe != "paper"))
    if what == "table1":
        spatter = ("only-spatter",) if dataset == "siqad" else ()
        return ("paper", *(name for name in TABLE1_MEASURED if name != "paper"), *spatter)
    if what in ("table2", BIAS):
        return ("paper", "vanilla")
    if what in FIGURES:
        return ("paper", PLAIN)
    known = (*TABLES, *FIGURES)
    raise SettingError(f"{what!r} is not a table or figure; choose one of {', '.join(known)}{nearest(what, known)}")


def reproduce(
    what: str,
    dataset: Dataset,
    model_run: ModelRun,
    *,
    model: str,
    rivals: Sequence[str] = (),
    device: str | None = None,
) -> Evidence:
    """Save the scores for a table, a figure or `BIAS` in the run folder, with those of `rivals`, pyiqa metrics."""
    evidence = model_run.score_dataset(dataset, recipes_of(what, dataset.name), model=model)
    results = dict(evidence.results)
    for name in rivals:
        key = PREFIX + name
        known = [one.results.get(key) for one in load_all(model_run.run.folder) if one.names == evidence.names]
        done = next((scores for scores in known if scores and not scores.not_run), None)
        results[key] = done or _rival_scores(dataset, name, model_run, device)
    evidence = replace(evidence, results=results)
    save(evidence, model_run.run.folder, part=dataset.part)
    return evidence


def _rival_scores(dataset: Dataset, name: str, model_run: ModelRun, device: str | None) -> Scores:
    """Return the scores of a pyiqa metric, higher is better."""
    try:
        rival = load_rival(name, device=device)
    except MissingPackageError as error:
        return Scores(not_run=str(error))
    column, errors = np.full(len(dataset), np.nan), []
    for place, path in enumerate(dataset.paths):
        try:
            column[place] = rival(load_image(path, max_pixels=model_run.max_pixels))
        except ImageError as error:
            errors.append(str(error))
        model_run.progress(PREFIX + name, place + 1)
    return Scores(value=column, order=column, errors=tuple(errors))


def recall_evidence(runs: Sequence[Path], dataset: Dataset, tables: Sequence[str], *, seed: int = 0) -> list[Evidence]:
    """Return the scores for tables that follow from the answers about a dataset in run folders, without a model."""
    recipes = tuple(dict.fromkeys(recipe for table in tables for recipe in recipes_of(table, dataset.name)))
    found = []
    for folder in runs:
        with open_snapshot(folder) as snapshot:
            found.append((folder, recall(snapshot, dataset, recipes, seed=seed)))
    return _with_distinct_names(found)


def saved_evidence(runs: Sequence[Path]) -> list[Evidence]:
    """Return the scores that `reproduce` and `evaluate` saved in run folders, and those of all other methods there."""
    found = []
    for folder in runs:
        if held := load_all(folder):
            with open_snapshot(folder) as snapshot:
                found += [(folder, with_all_methods(snapshot, evidence)) for evidence in held]
    if not found:
        raise SettingError(
            f"{', '.join(map(str, runs))}: has no scores from qdebias reproduce or evaluate; run one of them, or give "
            f"--dataset and --root to compute scores from the answers"
        )
    return _with_distinct_names(found)


def _with_distinct_names(found: Sequence[tuple[Path, Evidence]]) -> list[Evidence]:
    """Add folder, size and seed to the model's name where two have the same model and dataset."""
    keys = [(evidence.model, evidence.dataset) for _, evidence in found]
    return [
        evidence
        if keys.count((evidence.model, evidence.dataset)) == 1
        else replace(evidence, model=f"{evidence.model} ({folder.name}: {len(evidence.names)}, seed {evidence.seed})")
        for folder, evidence in found
    ]


def build(table: str, measured: Sequence[Agreements]) -> Table:
    """Return a table of the paper with its printed numbers and the measured ones."""
    evidences = [one.evidence for one in measured]
    titles = {one.dataset: one.title for one in reversed(evidences)}
    datasets = [name for name in TITLES if name in titles]  # those of the paper first and in its order
    datasets += dict.fromkeys(one.dataset for one in evidences if one.dataset not in TITLES)
    if table in ABLATIONS:
        return _ablation(table, measured, datasets)
    make = _table1 if table == "table1" else _table2
    return make(measured, {name: titles[name] for name in datasets})


Group: TypeAlias = tuple[str, str]
"""The heading of two columns, and "Δ" if they are differences."""
Rows: TypeAlias = list[tuple[tuple[str, ...], list[Agreement]]]
"""The texts at the beginning of each row, and the pairs of numbers after them."""


def _table(title: str, heads: Iterable[str], groups: Iterable[Group], rows: Rows, notes: Iterable[str]) -> Table:
    """Return a table with SRCC and PLCC in each group of columns."""
    columns = [Column(head) for head in heads]
    columns += [Column(f"{delta}{measure}", group) for group, delta in groups for measure in ("SRCC", "PLCC")]
    lines = [(*map(Cell, texts), *(cell for one in agreements for cell in one.cells)) for texts, agreements in rows]
    return Table(title=title, columns=tuple(columns), rows=tuple(lines), notes=tuple(notes))


def _ablation(table: str, measured: Sequence[Agreements], datasets: Sequence[str]) -> Table:
    title, heads, printed = ABLATIONS[table]
    known = [dataset for dataset in datasets if any(dataset in row.values for row in printed)]
    groups = [(f"{one.evidence.title}, {one.evidence.model}", delta) for one in measured for delta in ("", "Δ")]
    groups += [(f"{TITLES[dataset]}, paper", "") for dataset in known]
    rows: Rows = []
    for row in printed:
        found: list[Agreement] = []
        for one in measured:
            found += [one.of(row.recipe), Agreement() if row.recipe == "paper" else one.of(row.recipe, "paper")]
        rows.append(((row.name, *row.settings), [*found, *(_printed(row, dataset) for dataset in known)]))
    delta = "ΔSRCC and ΔPLCC: minus Q-Debias on the same images, with a paired bootstrap interval."
    return _table(title, heads, groups, rows, [delta, *_remarks(measured, printed)])


def _table1(measured: Sequence[Agreements], titles: Mapping[str, str]) -> Table:
    ours, after = (
        [row for row in rows if titles.keys() & row.values.keys()]
        for rows in ((*published.RIVALS, *published.TABLE1_OURS), published.AFTER)
    )

    def of_paper(row: PublishedRow, source: str) -> tuple[tuple[str, ...], list[Agreement]]:
        values = [row.values.get(dataset, Agreement()) for dataset in titles]
        return (row.name, source, row.training or "nothing"), values

    rows = [of_paper(row, SOURCE[row.version]) for row in ours]
    for model, held in _by_model(measured).items():
        results = dict.fromkeys(name for one in held.values() for name in one.evidence.results)
        methods = [(name.removeprefix(PREFIX), name) for name in results if name.startswith(PREFIX)]
        methods += [(title, name) for name, title in TABLE1_MEASURED.items()]
        methods += [("Q-Debias, spatter only", "only-spatter")] if "siqad" in held else []
        for title, *names in (*methods, ("Q-Debias minus Q-Bench prompt", "paper", "qbench")):
            source = "measured, pyiqa" if names[0].startswith(PREFIX) else f"measured, {model}"
            found = [held[dataset].of(*names) if dataset in held else Agreement() for dataset in titles]
            rows.append(((title, source, ""), found))
    rows += [of_paper(row, f"after the paper: {row.source}") for row in after]
    notes = [*_remarks(measured, ours), *([_AFTER] if after else [])]
    heads = "Method", "Numbers from", "Trained on"
    return _table("Table 1: comparison of methods", heads, [(title, "") for title in titles.values()], rows, notes)


def _table2(measured: Sequence[Agreements], titles: Mapping[str, str]) -> Table:
    groups = [(f"{title}, {kind}", "") for title in titles.values() for kind in ("vanilla prompt", "Q-Debias", "gain")]
    printed = [row for row in published.TABLE2 if titles.keys() & row.values.keys()]
    rows: Rows = []
    for row in printed:
        found: list[Agreement] = []
        for dataset in titles:
            vanilla, debiased = row.vanilla.get(dataset, Agreement()), row.values.get(dataset, Agreement())
            pairs = (debiased.srcc, vanilla.srcc), (debiased.plcc, vanilla.plcc)
            gains = [Number(one.value - other.value, signed=True) for one, other in pairs if one and other]
            gain = Agreement(srcc=gains[0], plcc=gains[1], notes=vanilla.notes) if gains else Agreement()
            found += [vanilla, debiased, gain]
        rows.append(((row.name, SOURCE[row.version]), found))
    for model, held in _by_model(measured).items():
        methods = ("vanilla",), ("paper",), ("paper", "vanilla")
        found = [held[dataset].of(*one) if dataset in held else Agreement() for dataset in titles for one in methods]
        rows.append(((model, "measured"), found))
    heads = "Model", "Numbers from"
    return _table("Table 2: other language models", heads, groups, rows, _remarks(measured, printed))


def _by_model(measured: Sequence[Agreements]) -> dict[str, dict[str, Agreements]]:
    """Return what was measured by model and dataset."""
    found: dict[str, dict[str, Agreements]] = {}
    for one in measured:
        found.setdefault(one.evidence.model, {}).setdefault(one.evidence.dataset, one)
    return found


def _printed(row: PublishedRow, dataset: str) -> Agreement:
    """Return the printed numbers of a cell, with a note if the later version prints others for Q-Debias."""
    first = row.values.get(dataset, Agreement())
    for other in published.TABLE1_OURS:
        later = other.values.get(dataset)
        same_cell = (other.version, other.recipe) == (LATER, row.recipe) and first.srcc
        if same_cell and later and (later.srcc, later.plcc) != (first.srcc, first.plcc):
            note = f"{SOURCE[LATER]} prints {later.srcc} and {later.plcc} here."
            return replace(first, notes=(*first.notes, note))
    return first


_AFTER = (
    "After the paper: trained scorers, as their authors report them on their own test sets, not measured by us; a "
    "dataset that a scorer was trained on says little about other images."
)
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


def _remarks(measured: Sequence[Agreements], printed: Sequence[PublishedRow]) -> tuple[str, ...]:
    """Return the notes on a whole table."""
    evidences = [one.evidence for one in measured]
    known = {dataset for row in printed for dataset in row.values}
    notes: list[str] = []
    for one in evidences:
        notes += [f"Measured: model {one.model}, seed {one.seed}, {one.summary}.", *one.notes]
        failed = {name: int(np.isnan(scores.value).sum()) for name, scores in one.results.items()}
        if missing := sorted(name for name, count in failed.items() if count):
            notes.append(
                f"{one.title}, {one.model}: {max(failed.values())} of {len(one.names)} images have no score "
                f"and are left out, of {', '.join(missing)}."
            )
    for one in evidences:
        if one.dataset not in known:
            where = " in this table" if one.dataset in TITLES and known else ""
            notes.append(f"The paper has no numbers for {one.title}{where}; only our numbers are shown.")
    images, groups = "over images", "over groups of images that share their content"
    resampled = sorted({images if one.groups is None else groups for one in evidences})
    notes.append(_INTERVALS.format(resampled=" or ".join(resampled)))
    if any(one.dataset in known for one in evidences):
        notes.append(_PAPER)
    return tuple(dict.fromkeys([*notes, _PRESETS]))
