"""Datasets with human scores: a loaded one, and the descriptions of all known ones (one file each in `known/`)."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError
from qdebias.inputs.datasets.matlab import read_columns, read_csiq_workbook, read_grid, read_live
from qdebias.inputs.datasets.readers import read_delimited, read_records
from qdebias.metrics.mos import Direction
from qdebias.system.named import nearest

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image to be scored, never a reference image. A text that the labels do not give is empty."""

    path: str  # relative to the dataset's root, with forward slashes
    name: str  # in the label file
    mos: float  # as the label file has it; `Dataset.direction` says which scores are better
    split: str = ""  # "train", "val" or "test"
    subset: str = ""  # the part of the dataset it belongs to: a source, a generator, a distortion
    scene: str = ""  # what it shows
    reference: str = ""  # the undistorted image it was made from
    group: str = ""  # images of one group share their content (reference, photograph, prompt): not independent


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The images of a dataset, or of a part that was requested, with their human scores.

    Attributes:
        name: "koniq10k" and so on; for a user's label file, the file's name without its suffix.
        root: The folder that the items' paths are relative to.
        items: In the order of the label file.
        direction: Which human scores are better.
        range: Lowest and highest score that the scale of these labels has.
        subset: The part that was requested, in lower case, or None: everything.
        subset_count: How many images that part has in the published dataset; None where that is not known.
        full_count: How many images the whole published dataset has; for a user's file, how many it lists.
        label_files: The files that the scores were read from.
        label_digest: The first 16 hex digits of the SHA-256 of those files' bytes.
        label_variant: Which of the circulating versions of the labels this is.
        image_folders: The folders below the root in which the images were found.
        notes: Remarks on these labels for the reader of a report.
        limit: The limit that `first` was given, if any.
        listed: How many images there were before that.
    """

    name: str
    root: Path
    items: tuple[Item, ...]
    direction: Direction
    range: tuple[float, float]
    subset: str | None
    subset_count: int | None
    full_count: int
    label_files: tuple[Path, ...]
    label_digest: str
    label_variant: str
    image_folders: tuple[str, ...]
    notes: tuple[str, ...]
    limit: int | None = None
    listed: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    def first(self, limit: int | None) -> "Dataset":
        """Return the first `limit` images, all of them for None."""
        if limit is not None and limit < 1:
            raise SettingError(f"limit must be 1 or more, got {limit}")
        if limit is None:
            return self
        return replace(self, items=self.items[:limit], limit=limit, listed=self.listed or len(self))

    @property
    def part(self) -> str:
        """Subset and limit, for the name of a file; empty for everything."""
        return "-".join(filter(None, (self.subset, f"first{self.limit}" if self.limit else "")))

    @property
    def complete(self) -> bool:
        """Whether this is the whole published dataset."""
        return len(self.items) == self.full_count

    @property
    def summary(self) -> str:
        """One line for a report: the dataset, and how much of the whole this is."""
        count = self.listed or len(self)
        cut = f"; only the first {self.limit:,} of them, as asked" if (self.limit or count) < count else ""
        if self.subset is None:
            return f"{self.name}: all {count:,} images{cut}"
        part = f", of which this part has {self.subset_count:,}" if self.subset_count not in (None, count) else ""
        return f"{self.name}, subset {self.subset!r}: {count:,} of {self.full_count:,} images{part}{cut}"

    @property
    def paths(self) -> list[Path]:
        """The N image files."""
        return [self.root / item.path for item in self.items]

    @property
    def mos(self) -> FloatArray:
        """(N,) human scores as the label file has them, so a DMOS stays a DMOS."""
        return np.array([item.mos for item in self.items], dtype=np.float64)

    @property
    def quality(self) -> FloatArray:
        """(N,) human scores with higher always better: `mos`, or its negative where the labels are lower-is-better."""
        return self.mos if self.direction == "higher" else -self.mos

    @property
    def groups(self) -> npt.NDArray[np.str_] | None:
        """(N,) groups for a bootstrap over groups; None where every image stands for itself."""
        if not any(item.group for item in self.items):
            return None
        return np.array([item.group or item.name for item in self.items])


Record: TypeAlias = Mapping[str, object]
Reader: TypeAlias = Callable[[Path], list[Record]]
Range: TypeAlias = tuple[float, float]
Table: TypeAlias = dict[str, Any]

SPLITS = {"0": "train", "1": "val", "2": "test", "training": "train", "validation": "val", "valid": "val"}
"""Spellings of splits in label files, and ours."""

NAME_COLUMNS = ("img_path", "image_path", "image", "img_name", "image_name", "path", "filename", "file_name", "name")
SCORE_COLUMNS = ("gt_score", "mos", "dmos", "score")
"""Columns by which a file of unknown origin is read, the first that is there; case does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """A file of a set of labels, or a further file about the same images."""

    path: str  # its name, perhaps in a folder; `*` stands for anything, and case does not matter
    split: str = ""  # of all its rows, if the file is that of a split
    name: str = ""  # of a further file: the column of the image's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """One form in which the labels of a dataset circulate."""

    variant: str  # a description of these labels for a report
    files: tuple[LabelFile, ...]  # that together list the images
    name: str  # columns of the image's name and of the human score
    score: str
    suffix: str = ""  # to be added to the names to get those of the files
    scales: tuple[Range, ...] | None = None  # the first that holds all scores is taken; None: the dataset's
    direction: Direction | None = None  # which scores are better; None: as in the dataset
    reference: str = ""  # columns for what is not part of the image's name
    group: str = ""
    split: str = ""
    subset: str = ""
    scene: str = ""
    scenes: tuple[str, ...] = ()  # columns with a weight per scene, of which the heaviest is taken
    annexes: tuple[LabelFile, ...] = ()  # read where found: a list of the images of a split, or else their scenes
    reader: Reader = read_records
    count: int | None = None  # images that these labels list when complete; None: as many as the dataset has


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One dataset: a file in `known/`."""

    name: str  # as users write it
    title: str  # as papers write it
    count: int | None  # images that have a score
    parts: Mapping[str, int] = field(default_factory=dict)  # of them in each split or subset, where known
    direction: Direction = "higher"
    scales: tuple[Range, ...]
    pattern: re.Pattern[str] = re.compile(r".+")  # of an image's name; its groups subset, reference, group are taken
    subsets: Mapping[str, str] = field(default_factory=dict)  # from the pattern's group `subset` to names
    depth: int | None = 1  # trailing components of a name that belong to it; the others are somebody's folders
    labels: tuple[Labels, ...]  # the preferred form first
    images: tuple[tuple[str, ...], ...] = (("",),)  # layouts: folders searched together; the first with any image
    tops: tuple[str, ...] = ()  # folders that may lie between the root and all this, once or twice
    averaged: tuple[str, ...] = ()  # names listed twice with different scores; the mean is used, and noted
    variants: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # scores of some images in each version
    notes: tuple[str, ...] = ()  # for a report
    source: str = ""  # where to get the dataset
    licence: str = "not stated"
    citation: str = ""


_FIRST = ("livec", "koniq10k", "agiqa3k", "kadid10k", "spaq", "siqad")  # the six of the paper, in its order
_READERS: Mapping[str, Reader] = {
    "livec": partial(read_columns, scores="AllMOS_release", names="AllImages_release", beside="AllImages_release.mat"),
    "live-vqc": partial(read_columns, scores="mos", names="video_list"),
    "live": partial(read_live, variable="dmos"),
    "live realigned": partial(read_live, variable="dmos_new"),
    "csiq workbook": read_csiq_workbook,
}


def _entries() -> Iterator[Entry]:
    folder = files("qdebias.inputs.datasets")
    tables = {file.name.removesuffix(".toml"): _read(file) for file in (folder / "known").iterdir()}
    forms = _read(folder / "forms.toml")
    for name in (*_FIRST, *sorted(tables.keys() - set(_FIRST))):
        table = tables[name]
        labels = [form for one in table.pop("labels") for form in _labels(forms.get(one.pop("like", ""), {}) | one)]
        variants = {one["name"]: one["scores"] for one in table.pop("variants", ())}
        pattern = re.compile(table.pop("pattern"), re.IGNORECASE)
        yield Entry(name=name, pattern=pattern, labels=tuple(labels), variants=variants, **table)


def _read(file: Traversable) -> Table:
    """Return a file's tables, with tuples for lists and spaces for line breaks."""

    def plain(value: Any) -> Any:  # noqa: ANN401  any value that TOML has
        if isinstance(value, list):
            return tuple(map(plain, value))
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        return value.replace("\n", " ") if isinstance(value, str) else value

    return {key: plain(value) for key, value in tomllib.loads(file.read_text("utf-8")).items()}


def _labels(table: Table) -> Iterator[Labels]:
    """Yield the form of labels that a table describes, once for each name under which its file circulates."""
    annexes = tuple(LabelFile(**annex) for annex in table.pop("annexes", ()))
    reader: Reader = read_records
    if "reader" in table:
        reader = _READERS[table.pop("reader")]
    elif "grid" in table:
        reader = partial(read_grid, **table.pop("grid"))
    elif "columns" in table:
        delimiter = table.pop("delimiter", ",")
        separator = None if delimiter == "white space" else delimiter
        reader = partial(read_delimited, columns=table.pop("columns"), delimiter=separator)
    names = table.pop("file", ())
    together = tuple(LabelFile(**file) for file in table.pop("files", ()))
    alternatives = [(LabelFile(path=name),) for name in ((names,) if isinstance(names, str) else names)]
    for label_files in [together] if together else alternatives:
        yield Labels(files=label_files, annexes=annexes, reader=reader, **table)


CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in _entries()}  # by name; the six of the paper first


def entry(name: str) -> Entry:
    """Return the dataset of a name; upper case, "-" and "_" do not matter, so "KonIQ-10k" is koniq10k."""
    found = CATALOGUE.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise SettingError(
            f"no dataset is called {name!r}{nearest(name, CATALOGUE)}; known are {', '.join(CATALOGUE)}, "
            f"or give a label file (.csv, .json, ... with columns img_path and gt_score)"
        )
    return found
