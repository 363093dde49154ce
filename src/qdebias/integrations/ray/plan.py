"""What a run on a cluster is, written down when it begins: which images belong to which chunk, and manifest.json.

A chunk is what one worker scores at a time and one file of results, so each image is in the results exactly once,
however often workers die. The plan is lines of JSON, `PART` chunks a file; nobody holds more than a file of it. The
manifest is written once, when the plan is complete and the first worker is ready.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from qdebias.backends.base import identity_difference
from qdebias.errors import StoreError
from qdebias.inputs import Piece
from qdebias.inputs.items import NamedImages, Unreadable
from qdebias.inputs.shards import Shard
from qdebias.inputs.tables import DatasetRows, Rows
from qdebias.integrations.ray.folder import Folder

PART = 100
"""Chunks in a file of the plan."""

_KINDS: dict[str, type[Any]] = {
    "Named": NamedImages,  # as the first plans were written
    "Nothing": Unreadable,
    "Shard": Shard,
    "Rows": Rows,
    "DatasetRows": DatasetRows,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a plan amounts to.

    Attributes:
        chunks: How many chunks it has.
        images: How many images; None where only reading shards would tell.
        digest: Hash of all of it: equal where the same images are listed in the same order.
    """

    chunks: int
    images: int | None
    digest: str


def freeze(pieces: Iterable[Piece], folder: Folder | None, *, chunk: int) -> Extent:
    """Cut images into chunks and write the plan down.

    Args:
        pieces: All images.
        folder: The folder of the run; None writes nothing and only tells the extent.
        chunk: Most images in a chunk of those that are named one by one. A shard or a row group is a chunk as it is.
    """
    lines, hashed = _lines(pieces, chunk), hashlib.blake2b(digest_size=16)
    chunks, images, part = 0, 0, 0
    unknown = False
    while batch := list(islice(lines, PART)):
        data = "".join(line for line, _ in batch).encode()
        hashed.update(data)
        if folder is not None:
            folder.write(_part_name(part), data)
        part, chunks = part + 1, chunks + len(batch)
        images += sum(count or 0 for _, count in batch)
        unknown = unknown or any(count is None for _, count in batch)
    return Extent(chunks=chunks, images=None if unknown else images, digest=hashed.hexdigest())


class Plan:
    """Reads the chunks of a frozen plan, one file of it in memory."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._part: tuple[int, list[bytes]] = (-1, [])

    def piece(self, chunk: int) -> Piece:
        """Return the images of a chunk."""
        part, line = divmod(chunk, PART)
        if self._part[0] != part:
            self._part = (part, (self._folder.read(_part_name(part)) or b"").splitlines())
        try:
            kind, values = json.loads(self._part[1][line])
            if _KINDS[kind] is NamedImages:
                return NamedImages(tuple(values["names"]))
            piece: Piece = _KINDS[kind](**values)
            return piece
        except (IndexError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{_part_name(part)}: has no chunk {chunk} ({error!r}); start again in another folder"
            ) from error


def _lines(pieces: Iterable[Piece], chunk: int) -> Iterator[tuple[str, int | None]]:
    """Yield each chunk as a line of JSON, and how many images it holds."""
    for piece in pieces:
        parts: list[Any] = [piece.absolute()]
        if isinstance(parts[0], NamedImages):
            names = parts[0].names
            parts = [NamedImages(names[start : start + chunk]) for start in range(0, len(names), chunk)]
        for part in parts:
            yield json.dumps([_NAMES[type(part)], asdict(part)]) + "\n", part.count


def _part_name(part: int) -> str:
    return f"plan/{part:06}.jsonl"


FORMAT = 1
NAME = "manifest.json"
SCORES = "scores"
SETTINGS = "settings of the method"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What manifest.json says.

    Attributes:
        setting: What decides the scores, see `Setting.decisive`.
        identity: Identity of the model, see `qdebias.Fingerprint`.
        chunk: Most images in a chunk of those that are named one by one.
        extent: What the plan amounts to.
    """

    setting: Mapping[str, str]
    identity: Mapping[str, str]
    chunk: int
    extent: Extent

    def check_setting(self, setting: Mapping[str, str]) -> None:
        """Refuse to go on with another model or method."""
        same = self.setting.get(SETTINGS) == setting.get(SETTINGS)  # by whatever name, as `paper-eq7` once was `paper`
        differences = identity_difference({**self.setting} | ({"method": setting["method"]} if same else {}), setting)
        if not same and self.setting.get("method") == setting["method"]:
            differences.append("what was paper is paper-eq7 now, and average average+eq7")
        _refuse(differences)

    def check_identity(self, identity: Mapping[str, str]) -> None:
        """Refuse a model whose answers must not be mixed with those of the run."""
        _refuse(identity_difference(self.identity, identity))

    def check_listing(self, extent: Extent) -> None:
        """Refuse images that are not those of the plan."""
        if extent != self.extent:
            raise StoreError(
                f"the images are not those that this run was started with ({_words(self.extent)} then, "
                f"{_words(extent)} now, or others of the same number); score what was added into another folder, or "
                f"name the original images"
            )


def read_manifest(folder: Folder) -> Manifest | None:
    """Return what the folder's manifest.json says, None where there is none.

    Raises:
        StoreError: It is not of this format, or there are scores without a manifest.
    """
    data = folder.read(NAME)
    if data is None:
        if folder.names(SCORES):
            raise StoreError(f"{folder}: has {SCORES} but no {NAME}; choose another folder")
        return None
    try:
        values = json.loads(data)
        if values.pop("format") != FORMAT:
            raise StoreError(f"{NAME}: was written by another version of qdebias; use that one, or another folder")
        return Manifest(**values | {"extent": Extent(**values["extent"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{NAME}: does not describe a run ({error}); choose another folder") from error


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    """Write manifest.json."""
    folder.write(NAME, (json.dumps({"format": FORMAT} | asdict(manifest), indent=1) + "\n").encode())


def score_file(chunk: int) -> str:
    """Return the name of the file with the scores of a chunk."""
    return f"{SCORES}/{chunk:08}.parquet"


def _refuse(differences: list[str]) -> None:
    if differences:
        raise StoreError(f"the folder holds scores of another kind ({'; '.join(differences)}); choose another folder")


def _words(extent: Extent) -> str:
    images = "" if extent.images is None else f"{extent.images:,} images in "
    return f"{images}{extent.chunks:,} chunks"
