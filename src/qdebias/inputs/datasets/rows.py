"""From the rows of label files to items: names, numbers, splits and subsets, checked one by one."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.datasets.dataset import Item
from qdebias.inputs.datasets.readers import second
from qdebias.inputs.datasets.table import (
    NAME_COLUMNS,
    SCORE_COLUMNS,
    SPLITS,
    Annex,
    Entry,
    LabelFile,
    Labels,
    Range,
    Record,
)


def to_items(records: Sequence[Record], labels: Labels, entry: Entry, file: LabelFile, path: Path) -> list[Item]:
    """Return one item per row, without paths.

    Args:
        records: The rows of one label file.
        labels: What their columns mean.
        entry: The dataset.
        file: Which of the labels' files it is.
        path: Where it is, for error messages.
    """
    items = []
    for number, record in enumerate(records, start=1):
        name = _own_name(text(record, labels.name), entry.depth)
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
    if column is None and {"model", "method"} <= columns.keys():
        raise SettingError(
            f"{path}: holds scores of a model (it has columns model and method), not of people; "
            f"name the column of human scores with --column, or give a label file"
        )
    wanted = SCORE_COLUMNS if column is None else (column.strip().casefold(),)
    score = next((columns[one] for one in wanted if one in columns), None)
    if score is None and records and "->" in text(records[0], columns.get("id", "")):
        score = columns["id"]
    if name is None or score is None:
        raise SettingError(
            f"{path}: needs a column of image names ({', '.join(NAME_COLUMNS)}) and one of scores "
            f"({', '.join(SCORE_COLUMNS)}); found {list(columns) or 'no rows below its header'}"
        )
    for chosen in (name, score):
        same = {chosen.strip().casefold(), second(chosen.strip().casefold())}
        alike = [column for column in given if column.strip().casefold() in same]
        if len(alike) > 1:
            raise SettingError(f"{path}: has columns {' and '.join(map(repr, alike))}; leave one of them")
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
            raise SettingError(f"{path}: lists {name!r} {len(rows)} times, with the scores {scores}; leave one of them")
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
