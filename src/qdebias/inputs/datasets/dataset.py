"""A loaded dataset: which images, which human scores, which way they point, and how much of the whole it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from qdebias.metrics.mos import Direction

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
    """The images of a dataset, or of a part that was asked for, with their human scores.

    Attributes:
        name: "koniq10k" and so on; for a user's label file, the file's name without its suffix.
        root: The folder that the items' paths are relative to.
        items: In the order of the label file.
        direction: Which human scores are better.
        range: Lowest and highest score that the scale of these labels has.
        subset: The part that was asked for, in lower case, or None: everything.
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
