"""`load_dataset`: the one way from a name and a folder to images with human scores."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

from qdebias.data.catalogue import entry as entry_of
from qdebias.data.dataset import Dataset, Direction, Item
from qdebias.data.forms import SPLITS
from qdebias.data.readers import read_records
from qdebias.data.resolve import Tree, find_images, find_labels, open_tree
from qdebias.data.rows import annotate, has_columns, merge, recognise, scale_of, to_items
from qdebias.data.table import Entry, LabelFile, Labels, Range
from qdebias.errors import SettingError

SAMPLE = "sample"
"""The subset that takes whatever rows and images are there."""

_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".gz")
_SHOWN = 3


def load_dataset(
    name: "str | PathLike[str]",
    *,
    root: "str | PathLike[str] | None" = None,
    subset: str | None = None,
    labels: "str | PathLike[str] | None" = None,
    direction: Direction | None = None,
) -> Dataset:
    """Load a dataset's human scores and find its images.

    Everything is checked: that the labels are complete and on a scale they can be on, and that every image is there.
    A part is loaded only when `subset` asks for it, and the result says of how much it is a part.

    Args:
        name: One of `CATALOGUE`, such as "koniq10k"; or the path of a label file with columns img_path and gt_score
            (also: mos, split, subset, scene, reference, group), as .csv, .tsv, .json, .jsonl or .xlsx.
        root: The folder of the dataset, in one of the layouts in which it is found; for a label file the folder that
            img_path is relative to, by default the file's own.
        subset: None for everything; a split or subset by its name, such as "test" or "ss01"; or "sample" for whatever
            rows and images are there.
        labels: A label file to be used instead of the one below the root, or a folder to look for it.
        direction: For a label file of one's own: whether "higher" (the default) or "lower" scores are better.

    Raises:
        SettingError: The name is unknown, or labels or images are missing, incomplete or not what they should be. The
            message says what is missing, what was found, and where to get the dataset.
    """
    if Path(name).suffix.lower() in _SUFFIXES:
        return _load_file(Path(name), root, subset, labels, direction)
    entry = entry_of(str(name))
    if direction is not None:
        raise SettingError(f"direction is known for {entry.name} ({entry.direction} is better); leave it out")
    if root is None:
        raise SettingError(f"{entry.name} needs root, the folder that holds it; get it from {entry.source}")
    tree = open_tree(Path(root), entry.title)
    return _assemble(entry, tree, _read_labels(entry, tree, None if labels is None else Path(labels)), subset)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """Labels as read: every row, whether or not its image is there."""

    items: tuple[Item, ...]
    labels: Labels
    scale: Range
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def _load_file(
    path: Path,
    root: "str | PathLike[str] | None",
    subset: str | None,
    labels: "str | PathLike[str] | None",
    direction: Direction | None,
) -> Dataset:
    if labels is not None:
        raise SettingError(f"{path} is a label file itself; leave labels out")
    if not path.is_file():
        raise SettingError(f"{path}: no such label file")
    records = read_records(path)
    form = recognise(records, path)
    if form.score.casefold() == "dmos" and direction is None:
        raise SettingError(f"{path}: for a column {form.score}, direction must say whether higher or lower is better")
    entry = Entry(
        name=path.name.split(".")[0],
        title=path.name,
        count=None,
        direction=direction or "higher",
        scales=((float("-inf"), float("inf")),),
        depth=None,
        labels=(form,),
        images=(("",), ("images",)),
        source="whoever made the file",
    )
    items, notes = merge(to_items(records, form, entry, form.files[0], path), (), path)
    scores = [item.mos for item in items]
    read = _Read(items=tuple(items), labels=form, scale=(min(scores), max(scores)), files=(path,), notes=tuple(notes))
    tree = open_tree(path.parent if root is None else Path(root), f"the images of {path.name}")
    return _assemble(replace(entry, count=len(items)), tree, read, subset)


def _read_labels(entry: Entry, tree: Tree, given: Path | None) -> _Read:
    """Read the first form of labels that is there, or the given file."""
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
            if isinstance(read, _Read):
                return read
            refused.append(read)
    if refused:
        raise SettingError(refused[0])
    looked_for = ", ".join(file.path for labels in entry.labels for file in labels.files)
    raise SettingError(
        f"{where.root}: no labels of {entry.title} found; looked for {looked_for}; the folder holds "
        f"{where.top_level()}; get the dataset from {entry.source}, or name a label file with labels"
    )


def _read_given(entry: Entry, path: Path) -> _Read:
    """Read a file as the form whose file name it has, or else as one whose columns it has."""
    if not path.is_file():
        raise SettingError(f"{path}: no such label file")
    tree = Tree(path.parent)
    named = [(labels, file) for labels in entry.labels for file in labels.files if _is_called(path, file)]
    if not named:
        records = read_records(path)
        fitting = [labels for labels in entry.labels if labels.reader is read_records and has_columns(records, labels)]
        named = [(labels, LabelFile(path=path.name)) for labels in fitting or [recognise(records, path)]]
    refused = []
    for labels, file in named:
        read = _read_form(entry, labels, [(file, path)], tree)
        if isinstance(read, _Read):
            return read
        refused.append(read)
    raise SettingError(refused[0])


def _is_called(path: Path, file: LabelFile) -> bool:
    return fnmatchcase(path.name.casefold(), Path(file.path).name.casefold()) and Path(file.path).name != "*.txt"


def _read_form(entry: Entry, labels: Labels, files: Sequence[tuple[LabelFile, Path]], tree: Tree) -> "_Read | str":
    """Return the items of one form of labels, or why they cannot be it: their scores are on no possible scale."""
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
    return _Read(items=tuple(items), labels=labels, scale=scale, files=paths, notes=tuple(notes))


def _assemble(entry: Entry, tree: Tree, read: _Read, subset: str | None) -> Dataset:
    """Choose the part that was asked for, find its images, and check that nothing is missing."""
    full = read.labels.count or entry.count or len(read.items)
    part = _part(read.items, subset)
    chosen = _choose(entry, read, part, full)
    found, folders = find_images(tree, entry.tops, entry.images, [item.name for item in chosen])
    missing = [item.name for item in chosen if item.name not in found]
    if missing and (part != SAMPLE or not found):
        remedy = "" if part == SAMPLE else f", or ask for subset {SAMPLE!r} to use what is there"
        raise SettingError(_missing_images(entry, tree, missing, len(chosen), folders) + remedy)
    return Dataset(
        name=entry.name,
        root=tree.root,
        items=tuple(replace(item, path=found[item.name]) for item in chosen if item.name in found),
        direction=read.labels.direction or entry.direction,
        range=read.scale,
        subset=subset,
        subset_count=full if part is None else entry.parts.get(part),
        full_count=full,
        label_files=read.files,
        label_digest=_digest(read.files),
        label_variant=_variant(entry, read),
        image_folders=folders,
        notes=entry.notes + read.notes,
    )


def _part(items: Sequence[Item], subset: str | None) -> str | None:
    """Return a subset's name as the items have it, in lower case: "training" is "train" where no subset is called so."""
    if subset is None:
        return None
    asked = subset.casefold()
    known = {label.casefold() for item in items for label in (item.split, item.subset)}
    return asked if asked in known else SPLITS.get(asked, asked)


def _choose(entry: Entry, read: _Read, part: str | None, full: int) -> list[Item]:
    if part is None:
        if len(read.items) != full:
            raise SettingError(
                f"{', '.join(map(str, read.files))}: {len(read.items):,} images, but {entry.title} has {full:,}; "
                f"complete it from {entry.source}, or ask for a part: {_parts(entry, read.items)}"
            )
        return list(read.items)
    if part == SAMPLE:
        return list(read.items)
    chosen = [item for item in read.items if part in (item.split.casefold(), item.subset.casefold())]
    if not chosen:
        raise SettingError(f"{read.files[0]}: no image of subset {part!r}; there are {_parts(entry, read.items)}")
    return chosen


def _parts(entry: Entry, items: Sequence[Item]) -> str:
    """Name the subsets that there are, with their sizes, for an error message."""
    labels = [label for item in items for label in {item.split, item.subset} if label]
    sizes = {label: labels.count(label) for label in sorted(set(labels))}
    listed = [f"{label} ({size:,} of {entry.parts.get(label, size):,})" for label, size in sizes.items()]
    return ", ".join([*listed[:40], f"{SAMPLE} (whatever is there)"])


def _missing_images(entry: Entry, tree: Tree, missing: Sequence[str], asked: int, folders: tuple[str, ...]) -> str:
    shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
    looked = " or ".join(" + ".join(folder or "." for folder in layout) for layout in entry.images)
    where = f"the others are in {', '.join(folder or '.' for folder in folders)}" if folders else f"looked in {looked}"
    return (
        f"{tree.root}: {len(missing):,} of {asked:,} images of {entry.title} are missing: {shown}; {where}; the folder "
        f"holds {tree.top_level()}; get them from {entry.source}"
    )


def _variant(entry: Entry, read: _Read) -> str:
    """Say which version of the labels this is, by its form and by the values that tell versions apart."""
    if not entry.variants:
        return read.labels.variant
    scores = {item.name: abs(item.mos) for item in read.items}
    for variant in entry.variants:
        gaps = [abs(scores[name] - score) for name, score in variant.scores.items() if name in scores]
        if gaps and max(gaps) < 1e-3:
            return f"{read.labels.variant}; {variant.name}"
    return f"{read.labels.variant}; none of the known versions"


def _digest(files: Sequence[Path]) -> str:
    content = hashlib.sha256()
    for file in files:
        content.update(file.read_bytes())
    return content.hexdigest()[:16]
