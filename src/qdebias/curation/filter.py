"""Which images are kept, and copying, moving or linking them into another folder, so that nothing can be lost.

Everything is planned and checked before the first file is touched. No file is ever replaced: each is made only where
there is none, by the operating system's own means, so that not even another process can come between.
"""

import errno
import filecmp
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from qdebias.errors import SettingError
from qdebias.runs.records import GivenScore
from qdebias.system.output import beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """How many of the best to keep: a number, or a share in (0, 1] of the images with a score, rounded up."""

    count: int | None = None
    share: Fraction | None = None

    @classmethod
    def parse(cls, text: str) -> "Top":
        """Parse "25" or "10%"."""
        number = text.strip()
        try:
            top = cls(share=Fraction(number[:-1]) / 100) if number.endswith("%") else cls(count=int(number))
        except (ValueError, ZeroDivisionError):
            top = cls(count=0)
        if not (top.count or 0) >= 1 and not 0 < (top.share or 0) <= 1:
            raise SettingError(f"top (--top) is a number of images such as 25, or a share such as 10%, got {text!r}")
        return top

    def of(self, images: int) -> int:
        """Return the number to keep of this many images."""
        wanted = self.count if self.share is None else math.ceil(self.share * images)
        return min(wanted or 0, images)


class Choice(NamedTuple):
    """The images that are kept and those that are not, the best first; and those without a score, as they came."""

    kept: tuple[GivenScore, ...]
    rejected: tuple[GivenScore, ...]
    failed: tuple[GivenScore, ...]


def choose(images: Sequence[GivenScore], *, minimum: float | None = None, top: Top | None = None) -> Choice:
    """Divide images into those that are kept, from a minimum upwards or the best so many, and those that are not.

    Where both limits are given, both have to hold. Images of equal score stand in the order of their paths, so that the
    order in which they came decides nothing, and exactly as many are kept as `top` says.
    """
    if minimum is None and top is None:
        raise SettingError(
            "say which images to keep: from which score upwards (minimum, --min), or how many of the "
            "best (top, --top), such as 25 or 10%"
        )
    scored = sorted((one for one in images if one.score is not None), key=lambda one: (-(one.score or 0), one.path))
    places = len(scored) if top is None else top.of(len(scored))
    least = -math.inf if minimum is None else minimum
    kept = tuple(one for one in scored[:places] if (one.score or 0) >= least)
    return Choice(kept, tuple(scored[len(kept) :]), tuple(one for one in images if one.score is None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to put an image elsewhere; each function gets the image and its new place.

    `make` raises FileExistsError where something else is. `is_done` tells whether the image is there already, put there
    in this way, and `may_stand` whether it is, or what an interrupted `make` left, which `make` completes.
    """

    name: str
    make: Callable[[Path, Path], None]
    is_done: Callable[[Path, Path], bool]
    may_stand: Callable[[Path, Path], bool]


class Placed(NamedTuple):
    """How many images were put somewhere, and how many were there from an earlier call."""

    made: int
    present: int


def place(images: Sequence[Path], roots: Sequence[Path], target: Path, way: Way) -> Placed:
    """Put images below another folder; return how many were put there, and how many were there from an earlier call.

    Images keep their path relative to the root that contains them, below the name of that root if there are several;
    others keep their file name alone. Called again, it resumes, and equal files are left alone. If anything is in the
    way, nothing has been touched; if the disk refuses, the message contains the number of images in place.
    """
    places = check_places(images, roots, target, way)
    made = present = 0
    for image, new in places.items():
        try:
            if way.is_done(image, new):
                present += 1
                continue
            new.parent.mkdir(parents=True, exist_ok=True)
            way.make(image, new)
        except OSError as error:
            raise SettingError(
                f"{new}: cannot be made ({error.strerror or error}); {made} of {len(places)} images are in place, "
                f"none is lost, and the same command resumes"
            ) from error
        made += 1
    return Placed(made, present)


def check_places(images: Sequence[Path], roots: Sequence[Path], target: Path, way: Way) -> dict[Path, Path]:
    """Return the new place of each image, or raise: see `place`."""
    for root in roots:  # where a later search would find the images once more
        if target.resolve().is_relative_to(root.resolve()):
            raise SettingError(f"{target} lies in {root}, where the images are from; choose a folder outside of it")
    present = next(folder for folder in (target, *target.absolute().parents) if os.path.lexists(folder))
    if not (present.is_dir() and os.access(present, os.W_OK | os.X_OK)):
        raise SettingError(f"{target}: {present} is not a writable folder; choose another; nothing was done")
    places: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    sources = [root.resolve() for root in roots]
    for image in images:
        new = places[image] = target / _relative(image, roots)
        if not image.is_file():
            raise SettingError(f"{image}: no longer exists; nothing was done")
        if taken.setdefault(new, image) != image:
            raise SettingError(f"{taken[new]} and {image} would both become {new}; nothing was done")
        if any(_entry(new).is_relative_to(source) for source in sources):
            raise SettingError(f"{new} leads into a folder where the images are from; nothing was done")
        if _entry(new) == _entry(image):
            raise SettingError(f"{image}: would be put where it already is; choose another folder; nothing was done")
        if os.path.lexists(new) and not way.may_stand(image, new):
            raise SettingError(f"{new} already exists and is not {image}; nothing was done")
    return places


def _relative(image: Path, roots: Sequence[Path]) -> Path:
    """Return the path of an image below the target."""
    absolute = Path(os.path.abspath(image))  # noqa: PTH100  (".." goes, links stay)
    for root in roots:
        base = Path(os.path.abspath(root))  # noqa: PTH100
        if absolute.is_relative_to(base):
            below = absolute.relative_to(base)
            return below if len(roots) == 1 else Path(base.name) / below
    return Path(absolute.name)


def _entry(path: Path) -> Path:
    """Return a path with the links of its folder followed, but not its own."""
    return path.parent.resolve() / path.name


def _copy(image: Path, new: Path) -> None:
    """Copy under a random name; the copy takes its place when it is complete."""
    with image.open("rb") as source, beside(new) as (copy, partial):
        shutil.copyfileobj(source, copy)
        copy.flush()
        os.fsync(copy.fileno())
        shutil.copystat(image, partial)
        _give_name(partial, new)


def _give_name(partial: Path, new: Path) -> None:
    """Give a file another name that nothing has, where the file system has no hard links by way of an empty file."""
    try:
        os.link(partial, new)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with new.open("xb") as empty:
            made = os.fstat(empty.fileno())
        if not os.path.samestat(made, new.lstat()) or new.lstat().st_size:
            raise FileExistsError(errno.EEXIST, "somebody else made it meanwhile", str(new)) from error
        partial.replace(new)


def _move(image: Path, new: Path) -> None:
    """Give the file its new name, then take the old one away; where that cannot be, copy it first."""
    before = image.lstat()
    if not _is_half_moved(image, new):
        try:
            if image.is_symlink():
                _copy(image, new)
            else:
                os.link(image, new)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _copy(image, new)
    after = image.lstat()
    if not os.path.samestat(before, after) or before.st_mtime_ns != after.st_mtime_ns:
        raise OSError(errno.EBUSY, f"{image} was changed meanwhile, and was left where it is")
    image.unlink()


def _is_copy(image: Path, new: Path) -> bool:
    return new.is_file() and not new.samefile(image) and filecmp.cmp(image, new, shallow=False)


def _is_half_moved(image: Path, new: Path) -> bool:
    """Whether a move was interrupted before the old name went: the file has two names, or there are two of it."""
    if new.is_symlink() or not new.is_file():
        return False
    if new.samefile(image):
        return new.stat().st_nlink > 1 and not image.is_symlink()
    return filecmp.cmp(image, new, shallow=False)


def _is_link(image: Path, new: Path) -> bool:
    return new.is_symlink() and new.resolve() == image.resolve()


_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)
"""What the system says where a file cannot have a second name there."""

COPY = Way(name="copied", make=_copy, is_done=_is_copy, may_stand=_is_copy)
MOVE = Way(name="moved", make=_move, is_done=lambda *_: False, may_stand=_is_half_moved)
LINK = Way(name="linked", make=lambda image, new: new.symlink_to(image.resolve()), is_done=_is_link, may_stand=_is_link)
