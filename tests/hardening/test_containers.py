"""Damaged shards and tables of images: each image is decoded or gives one error, and nothing outside is reached."""

import io
import tarfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from corpus.pictures import encoded
from mutation import always, examples, mutated
from qdebias.errors import ImageError, QdebiasError
from qdebias.image import load_image
from qdebias.inputs import open_images

IMAGES = {"a.jpg": encoded("JPEG"), "b.png": encoded("PNG"), "b.json": b"{}"}


def shard(mode: str, **odd: str) -> bytes:
    """Return a tar of the images, and of members of other kinds that lead to other places."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode=mode) as tar:
        for name, data in IMAGES.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in odd.items():
            member = tarfile.TarInfo(f"../{name}.png")
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return memory.getvalue()


def table() -> bytes:
    """Return a Parquet file of images."""
    memory = io.BytesIO()
    pq.write_table(pa.table({"image": list(IMAGES.values())}), memory, compression="none")
    return memory.getvalue()


LINKS = shard("w", outside="/etc/passwd", itself="../itself.png", up="../../up.png")
CASES = {
    "x.tar": (shard("w"), (LINKS, b"", bytes(10_240))),
    "x.tar.gz": (shard("w:gz"), (b"\x1f\x8b",)),
    "x.tar.bz2": (shard("w:bz2"), (b"BZh9",)),
    "x.tar.xz": (shard("w:xz"), (b"\xfd7zXZ\0",)),
    "x.parquet": (table(), ()),
}
"""A sound file of each kind, and others that are tried too."""


@pytest.mark.parametrize("name", CASES)
def test_damaged_containers(name: str, tmp_path: Path, thorough: bool, trials: Callable[[int], None]) -> None:
    path, (whole, others) = tmp_path / name, CASES[name]

    @examples(400 if thorough else 25)
    @given(mutated(whole))
    @always(*others, whole)
    def holds(data: bytes) -> None:
        path.write_bytes(data)
        decoded = 0
        with warnings.catch_warnings(), suppress(QdebiasError):
            warnings.simplefilter("ignore")
            for image in open_images([str(path)], column="image" if name.endswith("parquet") else None):
                with suppress(ImageError):
                    load_image(image)
                    decoded += 1
        assert decoded <= 2 or data != whole
        assert list(tmp_path.iterdir()) == [path]
        trials(1)

    holds()
