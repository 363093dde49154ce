"""One file of the corpus, and what is expected of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

Make = Callable[[Path], object]

DAMAGED = "damaged or truncated|is not an image"
"""What is said of a file that cannot be decoded, whether or not it could be recognised."""

TOO_LARGE = "megapixels, more than the limit|more pixels than are ever decoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file.

    Attributes:
        kind: What is odd about it, for the count of trials.
        name: Its path below the corpus, as bytes: names of files need not be text.
        make: Writes it.
        error: Pattern of the one error that it has to give; None where it has to be scored.
        whole: Bytes of an image. Where the file is scored after all, it has to have exactly the pixels of this one:
            what is cut off may be unimportant, but is never made up.
    """

    kind: str
    name: bytes
    make: Make
    error: str | None = None
    whole: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A case that lies on the disk."""

    case: Case
    path: Path


def of_bytes(kind: str, name: str, data: bytes, error: str | None = None, *, whole: bytes | None = None) -> Case:
    """Return a case of a file with these bytes, in a folder named after the kind."""
    return Case(
        kind=kind,
        name=f"{kind}/{name}".encode(),
        make=lambda path: path.write_bytes(data),
        error=error,
        whole=whole,
    )


def build(cases: Iterable[Case], folder: Path) -> list[Built]:
    """Write the files below a folder."""
    built = []
    for case in cases:
        path = folder / case.name.decode("utf-8", "surrogateescape")
        path.parent.mkdir(parents=True, exist_ok=True)
        case.make(path)
        built.append(Built(case=case, path=path))
    return built
