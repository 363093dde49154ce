"""Hashes of weight files: every byte counts, and an unchanged file is read once."""

import hashlib
import os
from pathlib import Path

import pytest

from qdebias.backends import checkpoint as file_digest
from qdebias.backends.checkpoint import sha256_of


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of 10 KiB."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(256)) * 40)
    return path


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of notes, with every file large enough and old enough for one."""
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(file_digest, "SMALL", 0)
    monkeypatch.setattr(file_digest, "SETTLED", -(10**12))
    return tmp_path / "assets" / "qdebias" / "weights" / "sha256"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were read."""
    found: list[Path] = []
    read = file_digest._read

    def counted(path: Path) -> str:
        found.append(path)
        return read(path)

    monkeypatch.setattr(file_digest, "_read", counted)
    return found


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def change(path: Path, place: int) -> None:
    """Change one byte, and set the time of the last change back to what it was."""
    before, clock = path.stat(), path.with_name("clock")
    clock.touch()
    while clock.stat().st_ctime_ns <= before.st_ctime_ns:  # until the file system's clock has moved on
        clock.touch()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_it_is_the_sha256_of_the_file(weights: Path) -> None:
    other = weights.with_name("other.safetensors")
    other.write_bytes(b"")
    assert sha256_of(weights) == digest_of(weights)
    assert sha256_of(other) == digest_of(other)


def test_an_unchanged_file_is_read_once(weights: Path, notes: Path, reads: list[Path]) -> None:
    first = sha256_of(weights)
    assert sha256_of(weights) == first == digest_of(weights)
    assert reads == [weights]
    assert [note.read_text() for note in notes.iterdir()] == [first]


@pytest.mark.parametrize("place", [0, 5000, 10239])
def test_a_changed_byte_is_noticed_wherever_it_is(weights: Path, notes: Path, place: int) -> None:  # noqa: ARG001
    before = sha256_of(weights)
    change(weights, place)
    assert sha256_of(weights) == digest_of(weights) != before


def test_another_file_at_the_same_place_is_noticed(weights: Path, notes: Path, reads: list[Path]) -> None:  # noqa: ARG001
    sha256_of(weights)
    state = weights.stat()
    other = weights.with_name("other")
    other.write_bytes(bytes(weights.stat().st_size))
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(weights)
    assert sha256_of(weights) == digest_of(weights)
    assert reads == [weights, weights]


def test_a_file_that_was_changed_just_now_is_not_noted(
    weights: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digest, "SETTLED", 10**12)
    sha256_of(weights)
    assert not list(notes.iterdir())


def test_small_files_leave_no_note(weights: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digest, "SMALL", 1 << 20)
    sha256_of(weights)
    assert not notes.exists()


def test_a_spoilt_note_and_a_folder_that_cannot_be_written_cost_only_time(
    weights: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = sha256_of(weights)
    (note,) = notes.iterdir()
    note.write_bytes(b"\xff" * 64)
    assert sha256_of(weights) == want
    assert note.read_text() == want
    note.write_text("cut")
    assert sha256_of(weights) == want
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "file"))
    assert sha256_of(weights) == want
