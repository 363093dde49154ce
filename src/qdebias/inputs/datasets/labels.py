"""From label files to items: finding them, reading their rows, and checking every name, number, split and subset."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError
from qdebias.inputs.datasets.dataset import (
    NAME_COLUMNS,
    SCORE_COLUMNS,
    SPLITS,
    Annex,
    Entry,
    Item,
    LabelFile,
    Labels,
    Range,
    Record,
)
from qdebias.inputs.datasets.readers import read_records, second
from qdebias.inputs.datasets.tree import Tree, find_labels, open_tree


def to_items(records: Sequence[Record], labels: Labels, entry: Entry, file: LabelFile, path: Path) -> list[Item]:
    """Return one item per row of a label file, without paths; the file's own path is for messages."""
    items = []
    for number, record in enumerate(records, start=1):
        listed = text(record, labels.name)
        if not listed:
            raise SettingError(f"{path}, row {number}: names no image; correct or remove the row")
        name = _own_name(listed.removesuffix(labels.suffix) + labels.suffix, entry.depth)
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


def has_columns(records: Sequence[Record], labels: Labels) -> bool:
    """Whether rows have the columns that a form of labels needs."""
    return bool(records) and labels.name in records[0] and labels.score in records[0]


def recognise(records: Sequence[Record], path: Path, column: str | None = None) -> Labels:
    """Return the meaning of the columns of a file of unknown origin, by their names.

    A column `id` whose values end in "->3.83" counts as a score. A file of scores that qdebias wrote is no label file.

    Args:
        records: The rows.
        path: The file, for messages.
        column: The column of human scores; None: the first of `SCORE_COLUMNS`.

    Raises:
        SettingError: It has no column of names or none of scores.
    """
    given = [str(column) for column in (records[0] if records else {})]
    columns = {column.strip().casefold(): column for column in given}
    name = next((columns[one] for one in NAME_COLUMNS if one in columns), None)
    if column is not None and column.strip().casefold() not in columns:
        raise SettingError(
            f"{path}: has no column {column!r}; choose one of {', '.join(columns.values())} with --column"
        )
    if column is None and ({"model", "method"} <= columns.keys() or {"log_odds", "mos_low"} & columns.keys()):
        raise SettingError(
            f"{path}: holds scores of a model (it has columns that qdebias writes beside them), not of people; "
            f"name the column of human scores with --column, or give a label file"
        )
    wanted = SCORE_COLUMNS if column is None else (column.strip().casefold(),)
    score = next((columns[one] for one in wanted if one in columns), None)
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


def merge(items: Sequence[Item], averaged: Sequence[str], path: Path) -> tuple[list[Item], list[str]]:
    """Return the items with each name once, and what a report has to say about it.

    Raises:
        SettingError: A name has two scores, and is not one of those known to have them.
    """
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


def scale_of(items: Sequence[Item], scales: Sequence[Range]) -> Range | None:
    """Return the first scale that holds all scores, or None."""
    low, high = min(item.mos for item in items), max(item.mos for item in items)
    return next((scale for scale in scales if scale[0] <= low and high <= scale[1]), None)


def annotate(items: Sequence[Item], records: Sequence[Record], annex: Annex, labels: Labels) -> list[Item]:
    """Return the items with what a further file says about them: their split, or their scene."""
    by_name = {text(record, annex.name): record for record in records}
    listed = [(item, by_name.get(item.name)) for item in items]
    if annex.split:
        return [item if record is None else replace(item, split=annex.split) for item, record in listed]
    return [
        item if record is None else replace(item, scene=_scene(record, labels, item.name)) for item, record in listed
    ]


def _own_name(name: str, depth: int | None) -> str:
    return name if depth is None else "/".join(name.replace("\\", "/").split("/")[-depth:])


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Labels as read: every image they list, there or not, their form and scale, and notes for a report."""

    items: tuple[Item, ...]
    labels: Labels
    scale: Range
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def read_labels(entry: Entry, tree: Tree, given: Path | None) -> LabelledImages:
    """Return the labels of a dataset.

    Args:
        entry: The dataset.
        tree: Where to look for its label files.
        given: A label file to be read instead, or a folder to look in instead.

    Raises:
        SettingError: There are none, or their scores are on no scale that this dataset's can be on.
    """
    if given is not None and not given.is_dir():
        return _read_file(entry, given)
    where = tree if given is None else open_tree(given, f"the labels of {entry.title}")
    refused = []
    for labels in entry.labels:
        files = [
            (file, where.root / path) for file in labels.files for path in find_labels(where, entry.tops, file.path)
        ]
        if files:
            read = _read_form(entry, labels, files, where)
            if isinstance(read, LabelledImages):
                return read
            refused.append(read)
    if refused:
        raise SettingError(refused[0])
    looked_for = ", ".join(file.path for labels in entry.labels for file in labels.files)
    raise SettingError(
        f"{where.root}: no labels of {entry.title} found; looked for {looked_for}; the folder holds "
        f"{where.top_level()}; get the dataset from {entry.source}, or name a label file with labels (--labels)"
    )


def _read_file(entry: Entry, path: Path) -> LabelledImages:
    """Read a file as the form whose file name it has, or else as one whose columns it has."""
    if not path.is_file():
        raise SettingError(f"{path}: no such label file")
    tree = Tree(path.parent)
    forms = [(labels, file) for labels in entry.labels for file in labels.files if _is_called(path, file)]
    if not forms:
        records = read_records(path)
        fitting = [labels for labels in entry.labels if labels.reader is read_records and has_columns(records, labels)]
        forms = [(labels, LabelFile(path=path.name)) for labels in fitting or [recognise(records, path)]]
    refused = []
    for labels, file in forms:
        read = _read_form(entry, labels, [(file, path)], tree)
        if isinstance(read, LabelledImages):
            return read
        refused.append(read)
    raise SettingError(refused[0])


def _is_called(path: Path, file: LabelFile) -> bool:
    """Whether a file has the name of a label file; "*.txt", which all text files have, does not count."""
    name = Path(file.path).name.casefold()
    return name != "*.txt" and fnmatchcase(path.name.casefold(), name)


def _read_form(
    entry: Entry, labels: Labels, files: Sequence[tuple[LabelFile, Path]], tree: Tree
) -> "LabelledImages | str":
    """Return the items of one form of labels, or why they cannot be it: no rows, or scores on no possible scale."""
    rows: list[Item] = []
    for file, path in files:
        rows += to_items(labels.reader(path), labels, entry, file, path)
    first = files[0][1]
    if not rows:
        return f"{first}: lists no images"
    items, notes = merge(rows, entry.averaged, first)
    scales = labels.scales or entry.scales
    scale = scale_of(items, scales)
    if scale is None:
        low, high = min(item.mos for item in items), max(item.mos for item in items)
        expected = " or ".join(f"{least:g} to {most:g}" for least, most in scales)
        return f"{first}: scores from {low:g} to {high:g} are not {entry.title}'s, which go from {expected}"
    for annex in labels.annexes:
        for found in find_labels(tree, entry.tops, annex.path)[:1]:
            items = annotate(items, labels.reader(tree.root / found), annex, labels)
    paths = tuple(path for _, path in files)
    return LabelledImages(items=tuple(items), labels=labels, scale=scale, files=paths, notes=tuple(notes))


FloatArray = npt.NDArray[np.float64]

_PREFIX = "logit_"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What a model answered about N images.

    Attributes:
        names: The images' names.
        mos: (N,) human scores, as the file has them.
        logits: (N,) logits of each option by the option's word: "good" is column logit_good.
        repeated: How many rows were left out because they repeat the one before.
    """

    names: tuple[str, ...]
    mos: FloatArray
    logits: dict[str, FloatArray]
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.names)


def read_outputs(path: "str | PathLike[str]", *, keep_repeated: bool = False) -> Outputs:
    """Read a file with columns img_path, gt_score and logit_... for each option.

    Args:
        path: Any of the formats that labels have; Q-Bench's are objects one after the other, without commas.
        keep_repeated: Whether to keep a row that equals the one before. Runs that were started twice leave such rows
            behind; published numbers count them.

    Raises:
        SettingError: A column is missing, or a value is no number.
    """
    path = Path(path)
    records = read_records(path)
    form = recognise(records, path)
    kept = [row for last, row in zip([None, *records], records, strict=False) if keep_repeated or row != last]
    options = [column.removeprefix(_PREFIX) for column in records[0] if column.startswith(_PREFIX)]
    if not options:
        raise SettingError(f"{path}: has no column {_PREFIX}..., only {list(records[0])}")
    try:
        mos = np.array([float(text(row, form.score)) for row in kept])
        logits = {option: np.array([float(text(row, _PREFIX + option)) for row in kept]) for option in options}
    except ValueError as error:
        raise SettingError(f"{path}: a score or logit is missing or is not a number ({error})") from error
    names = tuple(text(row, form.name) for row in kept)
    return Outputs(names=names, mos=mos, logits=logits, repeated=len(records) - len(kept))
