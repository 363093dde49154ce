"""Datasets with human scores: what is loaded of one, and what is known of each (one file in `known/`)."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError
from qdebias.inputs.datasets.matlab import Columns, Grid, LiveMatrix, read_csiq_workbook
from qdebias.inputs.datasets.readers import Delimited, read_records
from qdebias.metrics.mos import Direction
from qdebias.system.named import nearest

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image to be scored. Reference images are never items.

    Attributes:
        path: Where the image is, relative to the dataset's root, with forward slashes.
        name: Its name in the label file.
        mos: Its human score as the label file has it; `Dataset.direction` says which scores are better.
        split: "train", "val" or "test", where the dataset has an official split; otherwise empty.
        subset: The part of the dataset it belongs to: a source, a generator, a distortion; otherwise empty.
        scene: What it shows, where the labels say so; otherwise empty.
        reference: The undistorted image it was made from, where there is one; otherwise empty.
        group: Images of one group share their content and are not independent: the same reference, photograph or
            prompt; otherwise empty.
    """

    path: str
    name: str
    mos: float
    split: str = ""
    subset: str = ""
    scene: str = ""
    reference: str = ""
    group: str = ""


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
        notes: What a reader of a report has to know about these labels.
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

    def __len__(self) -> int:
        return len(self.items)

    @property
    def complete(self) -> bool:
        """Whether this is the whole published dataset."""
        return len(self.items) == self.full_count

    @property
    def summary(self) -> str:
        """One line for a report: what this is and how much of the whole."""
        if self.subset is None:
            return f"{self.name}: all {len(self):,} images"
        part = f", of which this part has {self.subset_count:,}" if self.subset_count not in (None, len(self)) else ""
        return f"{self.name}, subset {self.subset!r}: {len(self):,} of {self.full_count:,} images{part}"

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

SPLITS = {"0": "train", "1": "val", "2": "test", "training": "train", "validation": "val", "valid": "val"}
"""Spellings of splits in label files, and ours."""

NAME_COLUMNS = ("img_path", "image_path", "image", "img_name", "image_name", "path", "filename", "file_name", "name")
SCORE_COLUMNS = ("gt_score", "mos", "dmos", "score")
"""Columns by which a file of unknown origin is read, the first that is there; case does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """One file of a set of labels.

    Attributes:
        path: Its name, with a folder where that belongs to the name; `*` stands for anything. Upper and lower case
            are not told apart.
        split: The split that all its rows belong to, if the file says so by being this file.
    """

    path: str
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annex:
    """A further file with more about the same images; used where it is found.

    Attributes:
        path: As of `LabelFile`.
        name: Column of the image's name.
        split: The split that the images it lists belong to; empty: it adds columns instead.
    """

    path: str
    name: str
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """One form in which the labels of a dataset circulate.

    Attributes:
        variant: What these labels are, in words for a report.
        files: The files that together list the images.
        name: Column of the image's name.
        suffix: What the names lack of the names of the files.
        score: Column of the human score.
        scales: The scales that the scores may be on; the first that holds all of them is taken. None: the dataset's.
        direction: Which scores are better. None: as in the dataset.
        reference: Column of the reference image's name, where the image's own name does not tell it.
        group: Column of the group, likewise.
        split: Column of the split.
        subset: Column of the subset, where the image's own name does not tell it.
        scene: Column of the scene.
        scenes: Columns with a weight per scene, of which the heaviest is taken.
        annexes: Further files.
        reader: How a file becomes rows.
        count: How many images these labels list when complete. None: as many as the dataset has.
    """

    variant: str
    files: tuple[LabelFile, ...]
    name: str
    score: str
    suffix: str = ""
    scales: tuple[Range, ...] | None = None
    direction: Direction | None = None
    reference: str = ""
    group: str = ""
    split: str = ""
    subset: str = ""
    scene: str = ""
    scenes: tuple[str, ...] = ()
    annexes: tuple[Annex, ...] = ()
    reader: Reader = read_records
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of several versions of the scores that circulate under the same file name, told by a few of its values.

    Attributes:
        name: For reports.
        scores: Score by image name.
    """

    name: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One dataset.

    Attributes:
        name: As users write it.
        title: As papers write it.
        count: How many images have a score.
        parts: How many of them each split or subset has, where known; a subset that is not here is allowed too.
        direction: Which scores are better.
        scales: Possible scales of the scores.
        pattern: What an image's name (its last `depth` components) looks like; case does not matter. Its groups
            `subset`, `reference` and `group` are taken over.
        subsets: Names for what the pattern's group `subset` finds.
        depth: How many trailing components of a name in a label file belong to it; the others are somebody's folders.
        labels: The forms of labels, the preferred one first.
        images: Layouts: each a tuple of folders that are searched together; the first layout that has any of the
            images is taken, so images of two resolutions never mix.
        tops: Names of a folder that may lie between the root and all this, once or twice.
        averaged: Names that the labels list twice with different scores; the mean is used, and noted.
        variants: Versions of the scores that cannot be told by the file's name.
        notes: What a report has to say.
        source: Where to get the dataset.
        licence: What its publisher allows, as far as it is stated.
        citation: The publication.
    """

    name: str
    title: str
    count: int | None
    parts: Mapping[str, int] = field(default_factory=dict)
    direction: Direction = "higher"
    scales: tuple[Range, ...]
    pattern: re.Pattern[str] = re.compile(r".+")
    subsets: Mapping[str, str] = field(default_factory=dict)
    depth: int | None = 1
    labels: tuple[Labels, ...]
    images: tuple[tuple[str, ...], ...] = (("",),)
    tops: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""
    licence: str = "not stated"
    citation: str = ""


Table: TypeAlias = dict[str, Any]

_FIRST = ("livec", "koniq10k", "agiqa3k", "kadid10k", "spaq", "siqad")  # the six of the paper, in its order
_READERS: Mapping[str, Reader] = {
    "livec": Columns(scores="AllMOS_release", names="AllImages_release", beside="AllImages_release.mat"),
    "live-vqc": Columns(scores="mos", names="video_list"),
    "live": LiveMatrix(variable="dmos"),
    "live realigned": LiveMatrix(variable="dmos_new"),
    "csiq workbook": read_csiq_workbook,
}


def _entries() -> Iterator[Entry]:
    folder = files("qdebias.inputs.datasets")
    forms = _read(folder / "forms.toml")
    tables = {
        file.name.removesuffix(".toml"): _read(file)
        for file in (folder / "known").iterdir()
        if file.name.endswith(".toml")
    }
    for name in (*_FIRST, *sorted(tables.keys() - set(_FIRST))):
        yield _entry(name, tables[name], forms)


def _read(file: Traversable) -> Table:
    """Return a file's tables, with tuples for lists and spaces for line breaks."""
    table: Table = _plain(tomllib.loads(file.read_text("utf-8")))
    return table


def _entry(name: str, table: Table, forms: Mapping[str, Table]) -> Entry:
    """Return the dataset of one file; an unknown column is a `TypeError`."""
    labels = [form for one in table.pop("labels") for form in _labels(forms.get(one.pop("like", ""), {}) | one)]
    variants = [Variant(**variant) for variant in table.pop("variants", ())]
    pattern = re.compile(table.pop("pattern"), re.IGNORECASE)
    return Entry(name=name, pattern=pattern, labels=tuple(labels), variants=tuple(variants), **table)


def _labels(table: Table) -> Iterator[Labels]:
    """Yield the form of labels that a table describes, once for each name under which its file circulates."""
    annexes = tuple(Annex(**annex) for annex in table.pop("annexes", ()))
    reader = _reader(table)
    names = table.pop("file", ())
    alternatives = [(LabelFile(path=name),) for name in ((names,) if isinstance(names, str) else names)]
    together = tuple(LabelFile(**file) for file in table.pop("files", ()))
    for label_files in [together] if together else alternatives:
        yield Labels(files=label_files, annexes=annexes, reader=reader, **table)


def _reader(table: Table) -> Reader:
    if "reader" in table:
        return _READERS[table.pop("reader")]
    if "grid" in table:
        return Grid(**table.pop("grid"))
    if "columns" in table:
        delimiter = table.pop("delimiter", ",")
        return Delimited(columns=table.pop("columns"), delimiter=None if delimiter == "white space" else delimiter)
    return read_records


def _plain(value: Any) -> Any:  # noqa: ANN401  any value that TOML has
    if isinstance(value, list):
        return tuple(_plain(part) for part in value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.replace("\n", " ") if isinstance(value, str) else value


CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in _entries()}
"""By name; the six of the paper first."""


def entry(name: str) -> Entry:
    """Return the dataset of a name; upper case, "-" and "_" do not matter, so "KonIQ-10k" is koniq10k.

    Raises:
        SettingError: There is none of that name.
    """
    found = CATALOGUE.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise SettingError(
            f"no dataset is called {name!r}{nearest(name, CATALOGUE)}; known are {', '.join(CATALOGUE)}, "
            f"or give a label file (.csv, .json, ... with columns img_path and gt_score)"
        )
    return found
