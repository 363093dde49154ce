"""From label files to datasets: finding them, reading their rows, and checking every name, number and scale."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.datasets.dataset import (
    NAME_COLUMNS,
    SCORE_COLUMNS,
    SPLITS,
    Dataset,
    Entry,
    Item,
    LabelFile,
    Labels,
    Record,
)
from qdebias.inputs.datasets.readers import read_records, second
from qdebias.inputs.datasets.tree import Tree, find_labels, open_tree


def read_labels(entry: Entry, tree: Tree, given: Path | None) -> Dataset:
    """Return a dataset without images by the labels in its tree, or in the file or folder that is given instead."""
    if given is not None and given.is_dir():
        tree, given = open_tree(given, f"the labels of {entry.title}"), None
    if given is not None:
        tree, forms = Tree(given.parent), iter(_forms_of_file(entry, given))
    else:
        forms = ((labels, _files_of(labels, entry, tree)) for labels in entry.labels)
    refused = ""
    for labels, files in forms:
        read = read_form(entry, labels, files, tree) if files else ""
        if isinstance(read, Dataset):
            return read
        refused = refused or read
    if refused:
        raise SettingError(refused)
    looked_for = ", ".join(file.path for labels in entry.labels for file in labels.files)
    raise SettingError(
        f"{tree.root}: no labels of {entry.title} found; looked for {looked_for}; the folder holds "
        f"{tree.top_level()}; get the dataset from {entry.source}, or name a label file with labels (--labels)"
    )


def _files_of(labels: Labels, entry: Entry, tree: Tree) -> list[tuple[LabelFile, Path]]:
    return [(file, tree.root / path) for file in labels.files for path in find_labels(tree, entry.tops, file.path)]


def _forms_of_file(entry: Entry, path: Path) -> list[tuple[Labels, list[tuple[LabelFile, Path]]]]:
    """Return the forms whose file name a file has, or else those whose columns it has."""
    if not path.is_file():
        raise SettingError(f"{path}: no such label file")
    named = []
    for labels in entry.labels:
        for file in labels.files:
            name = Path(file.path).name.casefold()
            if name != "*.txt" and fnmatchcase(path.name.casefold(), name):  # all text files have the former
                named.append((labels, [(file, path)]))
    if named:
        return named
    records, file = read_records(path), LabelFile(path=path.name)
    columns = records[0] if records else {}
    plain = [labels for labels in entry.labels if labels.reader is read_records]
    fitting = [labels for labels in plain if labels.name in columns and labels.score in columns]
    return [(labels, [(file, path)]) for labels in fitting or [recognise(records, path)]]


def read_form(entry: Entry, labels: Labels, files: Sequence[tuple[LabelFile, Path]], tree: Tree) -> Dataset | str:
    """Return a dataset without images by one form of labels, or why its files cannot be that form.

    Either they hold no rows, or scores that are on no possible scale.
    """
    rows = [item for file, path in files for item in _to_items(labels.reader(path), labels, entry, file, path)]
    first = files[0][1]
    if not rows:
        return f"{first}: lists no images"
    items, notes = _merge(rows, entry.averaged, first)
    low, high = min(item.mos for item in items), max(item.mos for item in items)
    scales = labels.scales or entry.scales or ((low, high),)
    scale = next((scale for scale in scales if scale[0] <= low and high <= scale[1]), None)
    if scale is None:
        expected = " or ".join(f"{least:g} to {most:g}" for least, most in scales)
        return f"{first}: scores from {low:g} to {high:g} are not {entry.title}'s, which go from {expected}"
    for annex in labels.annexes:
        for found in find_labels(tree, entry.tops, annex.path)[:1]:
            more = {text(record, annex.name): record for record in labels.reader(tree.root / found)}
            for place, item in enumerate(items):
                if item.name in more and annex.split:
                    items[place] = replace(item, split=annex.split)
                elif item.name in more:
                    items[place] = replace(item, scene=_scene(more[item.name], labels, item.name))
    paths = tuple(path for _, path in files)
    return Dataset(
        name=entry.name,
        root=tree.root,
        items=tuple(items),
        direction=labels.direction or entry.direction,
        range=scale,
        subset=None,
        subset_count=None,
        full_count=labels.count or entry.count or len(items),
        label_files=paths,
        label_digest=hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16],
        label_variant=_variant(entry, labels, items),
        image_folders=(),
        notes=(*entry.notes, *notes),
    )


def _variant(entry: Entry, labels: Labels, items: Sequence[Item]) -> str:
    """Return which version of the labels this is, by its form and by the scores in which versions differ."""
    if not entry.variants:
        return labels.variant
    scores = {item.name: abs(item.mos) for item in items}
    for variant, known in entry.variants.items():
        gaps = [abs(scores[name] - score) for name, score in known.items() if name in scores]
        if gaps and max(gaps) < 1e-3:
            return f"{labels.variant}; {variant}"
    return f"{labels.variant}; none of the known versions"


def _to_items(records: Sequence[Record], labels: Labels, entry: Entry, file: LabelFile, path: Path) -> list[Item]:
    """Return one item per row of a label file, without paths; the file's own path is for messages."""
    items = []
    for number, record in enumerate(records, start=1):
        name = text(record, labels.name)
        if not name:
            raise SettingError(f"{path}, row {number}: names no image; correct or remove the row")
        name = name.removesuffix(labels.suffix) + labels.suffix
        if entry.depth is not None:
            name = "/".join(name.replace("\\", "/").split("/")[-entry.depth :])
        match = entry.pattern.fullmatch(name)
        if match is None:
            raise SettingError(
                f"{path}, row {number}: {name!r} is not how {entry.title} names its images ({entry.pattern.pattern})"
            )
        where = f"{path}, row {number} ({name})"
        parts = {key: value for key, value in match.groupdict().items() if value is not None}
        code = parts["subset"].casefold() if "subset" in parts else text(record, labels.subset)
        reference = parts.get("reference", "").casefold() or Path(text(record, labels.reference)).name.casefold()
        split = text(record, labels.split) or file.split
        items.append(
            Item(
                path="",
                name=name,
                mos=_number(record, labels.score, where),
                split=SPLITS.get(split.casefold(), split),
                subset=entry.subsets.get(code, code),
                scene=_scene(record, labels, where),
                reference=reference,
                group=parts.get("group", "") or text(record, labels.group) or reference,
            )
        )
    return items


def text(record: Record, column: str) -> str:
    """Return the text of a cell without blanks around it; empty where there is no such column or no value."""
    value = record.get(column) if column else None
    return "" if value is None else str(value).strip()


def _number(record: Record, column: str, where: str) -> float:
    value = text(record, column)
    try:
        number = float(value.rsplit("->", 1)[-1])
    except ValueError:
        raise SettingError(f"{where}: the score {value!r} is not a number; correct or remove the row") from None
    if not math.isfinite(number):
        raise SettingError(f"{where}: the score {value!r} is not finite; correct or remove the row")
    return number


def _scene(record: Record, labels: Labels, where: str) -> str:
    """Return the scene, or the heaviest of several; among equals the first."""
    weights = {scene: _number(record, scene, f"{where}, {scene}") for scene in labels.scenes if text(record, scene)}
    return max(weights, key=lambda scene: weights[scene]) if weights else text(record, labels.scene)


def recognise(records: Sequence[Record], path: Path, column: str | None = None) -> Labels:
    """Return the meaning of the columns of a file of unknown origin, by their names; `column`: that of human scores.

    A column `id` whose values end in "->3.83" counts as a score. A file of scores that qdebias wrote is no label file.
    """
    given = [str(column) for column in (records[0] if records else {})]
    columns = {column.strip().casefold(): column for column in given}
    wanted = None if column is None else column.strip().casefold()
    if wanted is None and ({"model", "method"} <= columns.keys() or {"log_odds", "mos_low"} & columns.keys()):
        raise SettingError(
            f"{path}: holds scores of a model (it has columns that qdebias writes beside them), not of people; "
            f"name the column of human scores with --column, or give a label file"
        )
    if wanted is not None and wanted not in columns:
        raise SettingError(
            f"{path}: has no column {column!r}; choose one of {', '.join(columns.values())} with --column"
        )
    name = next((columns[one] for one in NAME_COLUMNS if one in columns), None)
    score = next((columns[one] for one in (SCORE_COLUMNS if wanted is None else [wanted]) if one in columns), None)
    if score is None and records and "->" in text(records[0], columns.get("id", "")):
        score = columns["id"]
    if name is None or score is None:
        raise SettingError(
            f"{path}: needs a column of image names ({', '.join(NAME_COLUMNS)}) and one of scores "
            f"({', '.join(SCORE_COLUMNS)}, or --column); found {list(columns) or 'no rows below its header'}"
        )
    for chosen in (name, score):
        same = {chosen.strip().casefold(), second(chosen.strip().casefold())}
        alike = [column for column in given if column.strip().casefold() in same]
        if len(alike) > 1:
            raise SettingError(f"{path}: has columns {' and '.join(map(repr, alike))}; keep only one of them")
    return Labels(
        variant=f"columns {name} and {score}",
        files=(LabelFile(path=path.name),),
        name=name,
        score=score,
        split=columns.get("split", ""),
        subset=columns.get("subset", ""),
        scene=columns.get("scene", ""),
        reference=columns.get("reference", ""),
        group=columns.get("group", ""),
    )


def _merge(items: Sequence[Item], averaged: Sequence[str], path: Path) -> tuple[list[Item], list[str]]:
    """Return each name once, and notes for a report; a name with two scores is refused unless it is in `averaged`."""
    by_name: dict[str, list[Item]] = {}
    for item in items:
        by_name.setdefault(item.name, []).append(item)
    merged, notes = [], []
    for name, rows in by_name.items():
        scores = [row.mos for row in rows]
        if len(set(scores)) > 1 and name not in averaged:
            raise SettingError(
                f"{path}: lists {name!r} {len(rows)} times, with the scores {scores}; keep only one of them"
            )
        if len(set(scores)) > 1:
            notes.append(f"{name} is listed with the scores {', '.join(f'{score:g}' for score in scores)}; their mean")
        elif len(rows) > 1:
            notes.append(f"{name} is listed {len(rows)} times with the same score; used once")
        merged.append(replace(rows[0], mos=math.fsum(scores) / len(scores)))
    return merged, notes
