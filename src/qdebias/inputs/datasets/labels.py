"""Finding and reading the labels of a dataset: the first of its forms that is there, or the file that was named."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.datasets.dataset import Item
from qdebias.inputs.datasets.readers import read_records
from qdebias.inputs.datasets.resolve import Tree, find_labels, open_tree
from qdebias.inputs.datasets.rows import annotate, has_columns, merge, recognise, scale_of, to_items
from qdebias.inputs.datasets.table import Entry, LabelFile, Labels, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Labels as read: every image they list, whether or not it is there.

    Attributes:
        items: The images, without paths.
        labels: The form that the labels had.
        scale: The scale that the scores are on.
        files: The files they were read from.
        notes: What a report has to say about them.
    """

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
        return _read_given(entry, given)
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


def _read_given(entry: Entry, path: Path) -> LabelledImages:
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
