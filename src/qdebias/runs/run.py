"""A run folder: open for writing, by one process at a time, or read as it stands at one moment."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from qdebias.backends.base import Fingerprint, identity_difference
from qdebias.errors import StoreError
from qdebias.methods.describe import describe
from qdebias.methods.outline import identity_digest, method_id, outline_of, pool_digest, question_id
from qdebias.methods.plan import Context, Method
from qdebias.runs.index import (
    ANSWERS,
    IMAGES,
    Index,
    IndexMismatchError,
    copy_index,
    discard_index,
    open_index,
    read_on,
)
from qdebias.runs.lines import Answer, Lines, Outcome, cannot_write, row_of
from qdebias.runs.manifest import NAME, Manifest, MethodEntry, read_manifest, write_manifest
from qdebias.system.output import locked

PACKAGES = ("qdebias", "numpy", "pillow", "opencv-python-headless", "numba")
"""Those that decide the pixels of the images and of their degraded copies."""


def environment() -> Mapping[str, str]:
    """Return the versions of Python, of the system and of `PACKAGES`: a change is noted, and never refused."""
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions


SYNC_SECONDS = 1.0
"""How much of the newest work a loss of power may cost; a killed process costs none of it."""

INDEX_SECONDS = 10.0
"""How often the index is written; what it lacks is read from the lines when the run is next opened."""


class Run:
    """The answers and outcomes of one model, open for writing; `open_run` makes one.

    Attributes:
        folder: Where it is kept.
        manifest: What run.json says.
        identity: Digest of the identity of the model.
        index: What the other files say.
        notes: What the user should know: what was mended, and how this environment differs from the last one.
    """

    def __init__(self, folder: Path, manifest: Manifest, fingerprint: Fingerprint) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.manifest = manifest
        self.identity = identity_digest(fingerprint.identity)
        self._environment = {**environment(), **fingerprint.environment}
        self._session: int | None = None
        if manifest.sessions:
            differences = identity_difference(manifest.sessions[-1]["environment"], self._environment)
            self.notes += [f"another environment than before: {difference}" for difference in differences]
        self.index = open_index(folder)
        self._answers, self._images = Lines(folder / ANSWERS), Lines(folder / IMAGES)
        self._synced = self._indexed = time.monotonic()

    def method(self, method: Method, *, name: str, context: Context, total: int | None = None) -> str:
        """Make a method known to the run and return its id.

        Args:
            method: The method.
            name: What people call it.
            context: Seed of its degradations, and the pool of other images where it needs one.
            total: How many images it will be requested.

        Raises:
            SettingError: The method cannot be told from others, see `qdebias.methods.describe`.
        """
        outline, settings = outline_of(method), describe(method)
        entry = MethodEntry(
            name=name,
            seed=context.seed,
            conditions=() if outline is None else outline.conditions,
            settings=settings,
            pool=None if context.pool is None else pool_digest(describe(context.pool)),
            total=total,
        )
        numbers = (
            number
            for number, known in self.manifest.methods.items()
            if (known.settings, known.seed, known.pool) == (settings, entry.seed, entry.pool)
        )
        number = next(numbers, None) or method_id(settings, entry.seed, entry.pool)
        known = self.manifest.methods.get(number)
        if known is None or (total is not None and known.total != total):
            entry = entry if known is None else replace(entry, conditions=known.conditions)
            self._write(replace(self.manifest, methods={**self.manifest.methods, number: entry}))
        return number

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Store what was answered in one call of the backend."""
        session = self._begin()
        asked = [question_id(answer.placement, answer.question) for answer in answers]
        fresh = {
            question: {"placement": answer.placement} | asdict(answer.question)
            for answer, question in zip(answers, asked, strict=True)
            if question not in self.manifest.questions
        }
        if fresh:
            self._write(replace(self.manifest, questions={**self.manifest.questions, **fresh}))
        rows = [
            {
                "key": answer.key,
                "question": question,
                "images": answer.images,
                "logits": answer.logits.tolist(),
                "more": len(answers) - number,
                "session": session,
            }
            for number, (answer, question) in enumerate(zip(answers, asked, strict=True), start=1)
        ]
        self._answers.append(rows)
        self.index.add_answers((row["key"], row["logits"]) for row in rows)
        self._save_now_and_then()

    def add_outcome(self, outcome: Outcome, *, asked: bool = True) -> None:
        """Store what became of an image.

        Args:
            outcome: What became of it.
            asked: Whether the image had to be looked at, or other methods had asked all of it before.

        Raises:
            StoreError: The disk refuses; nothing is stored.
        """
        session = self._begin()
        now = round(time.time(), 3)
        self._images.append([row_of(outcome, asked=asked, answers_end=self._answers.size, session=session, time=now)])
        self.index.add_outcomes([outcome])
        self._save_now_and_then()

    def mend(self) -> None:
        """Cut off what a process that was killed left unfinished."""
        try:
            answers, images = read_on(self.folder, self.index)
        except IndexMismatchError:
            self.index.close()
            discard_index(self.folder)
            self.index = open_index(self.folder)
            answers, images = read_on(self.folder, self.index)
        for lines, size in ((self._answers, answers), (self._images, images)):
            if lines.size > size:
                self.notes.append(f"{lines.path.name}: cut off {lines.size - size} bytes of unfinished work")
                lines.cut(size)
        self.save()

    def save(self) -> None:
        """Make everything so far outlive a loss of power, and bring the index file up to date."""
        self._sync()
        self.index.commit(((self._answers.path, self._answers.size), (self._images.path, self._images.size)))
        self._indexed = time.monotonic()

    def close(self) -> None:
        """Close the files."""
        self.index.close()
        self._answers.close()
        self._images.close()

    def _begin(self) -> int:
        """Return the number of this session, after writing down its environment when it is the first thing stored."""
        if self._session is None:
            session = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "environment": self._environment}
            self._session = len(self.manifest.sessions)
            self._write(replace(self.manifest, sessions=(*self.manifest.sessions, session)))
        return self._session

    def _write(self, manifest: Manifest) -> None:
        write_manifest(self.folder, manifest)
        self.manifest = manifest

    def _save_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._indexed >= INDEX_SECONDS:
            self.save()
        elif now - self._synced >= SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        """Answers first: no outcome may outlive the answers that it stands on."""
        self._answers.sync()
        self._images.sync()
        self._synced = time.monotonic()


@contextmanager
def open_run(folder: str | os.PathLike[str], fingerprint: Fingerprint, *, model: str) -> Iterator[Run]:
    """Open a run folder for writing, or begin one, and hold its lock.

    Args:
        folder: Made where there is none.
        fingerprint: That of the backend that will answer.
        model: What `qdebias.load_backend` took, so that the run can be resumed by its folder alone.

    Raises:
        StoreError: The folder holds answers of another model, or something else, or is in use, or cannot be written.
    """
    path = Path(folder)
    _make(path)
    with locked(path):
        run = Run(path, _manifest_for(path, fingerprint, model), fingerprint)
        try:
            run.mend()
            yield run
            run.save()
        finally:
            run.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / NAME).exists():
            names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(f".{NAME}.")}
            strange = sorted(names - {"lock", "lock.holder"})
            if strange:
                raise StoreError(f"{folder} holds {strange[0]} and no run; choose a new or empty folder")
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"{folder} is not a folder; choose another name for the run") from error
    except OSError as error:
        raise cannot_write(folder, error) from error


def _manifest_for(folder: Path, fingerprint: Fingerprint, model: str) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        manifest = Manifest(model=model, identity=dict(fingerprint.identity))
        write_manifest(folder, manifest)
    differences = identity_difference(manifest.identity, fingerprint.identity)
    if differences:
        kind = manifest.identity.get("dtype")
        flag = f" (--dtype {kind})" if kind != fingerprint.identity.get("dtype") else ""
        raise StoreError(
            f"{folder} holds the answers of another model, and answers are never mixed; {'; '.join(differences)}. "
            f"Load the same model{flag}, or choose another folder"
        )
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a run holds."""

    folder: Path
    manifest: Manifest
    index: Index

    @property
    def identity(self) -> str:
        """Digest of the identity of the model."""
        return identity_digest(self.manifest.identity)


@contextmanager
def open_snapshot(folder: str | os.PathLike[str]) -> Iterator[Snapshot]:
    """Read a run folder, also while another process writes it.

    Raises:
        StoreError: It holds no run, or a damaged one.
    """
    path = Path(folder)
    _manifest(path)
    with closing(copy_index(path)) as index:
        yield Snapshot(folder=path, manifest=_manifest(path), index=index)


def _manifest(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"{folder} is not a run folder; name a folder that was given as --run")
    return manifest
