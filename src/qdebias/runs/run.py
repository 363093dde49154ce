"""A run folder: open for writing, by one process at a time, or read as it stands at one moment."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from qdebias.backends.base import Fingerprint, identity_difference
from qdebias.errors import StoreError
from qdebias.methods.describe import describe
from qdebias.methods.outline import identity_digest, method_id, outline_of, pool_digest
from qdebias.methods.plan import Context, Method
from qdebias.runs.index import ANSWERS, IMAGES, Index, copy_index, open_index
from qdebias.runs.lines import Lines, Outcome, Row, writing
from qdebias.runs.manifest import NAME, Manifest, MethodEntry, read_manifest, write_manifest
from qdebias.system.output import locked

PACKAGES = ("qdebias", "numpy", "pillow", "opencv-python-headless", "numba")
"""Those that decide the pixels of the images and of their degraded copies; a change is noted, and never refused."""

SYNC_SECONDS = 1.0  # how much of the newest work a loss of power may cost; a killed process costs none of it
INDEX_SECONDS = 10.0  # how often the index is written; lines after that are read again when the run is next opened


@dataclass(kw_only=True, eq=False)
class Snapshot:
    """What a run holds."""

    folder: Path
    manifest: Manifest  # run.json
    index: Index  # of the other files

    @cached_property
    def identity(self) -> str:
        """Digest of the identity of the model."""
        return identity_digest(self.manifest.identity)


class Run(Snapshot):
    """The answers and outcomes of one model, open for writing; `open_run` makes one.

    Attributes:
        folder: Where it is kept.
        manifest: The content of run.json.
        index: The content of the other files.
        notes: What the user should know: what was repaired, and how this environment differs from the last one.
    """

    def __init__(self, folder: Path, manifest: Manifest, fingerprint: Fingerprint) -> None:
        super().__init__(folder=folder, manifest=manifest, index=open_index(folder))
        environment = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
        for package in PACKAGES:
            try:
                environment[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                environment[package] = "absent"
        self._environment = {**environment, **fingerprint.environment}
        self._session: int | None = None
        self.notes: list[str] = []
        if manifest.sessions:
            differences = identity_difference(manifest.sessions[-1]["environment"], self._environment)
            self.notes += [f"another environment than before: {difference}" for difference in differences]
        self._answers, self._images = Lines(folder / ANSWERS), Lines(folder / IMAGES)
        self._synced = self._indexed = time.monotonic()

    def repair(self) -> None:
        """Cut off what a process that was killed left unfinished."""
        for lines, size in zip((self._answers, self._images), self.index.whole, strict=True):
            if lines.size > size:
                self.notes.append(f"{lines.path.name}: cut off {lines.size - size} bytes of unfinished work")
                lines.cut(size)
        self.save()

    def method(self, method: Method, *, name: str, context: Context, total: int | None = None) -> str:
        """Enter a method under its `name` and return its id; `total` is the number of images to score.

        Raises a SettingError for a method that cannot be described, see `qdebias.methods.describe`.
        """
        outline, settings = outline_of(method), describe(method)
        pool = None if context.pool is None else pool_digest(describe(context.pool))
        key = method_id(settings, context.seed, pool)
        for number, entry in self.manifest.methods.items():
            if (entry.settings, entry.seed, entry.pool) == (settings, context.seed, pool):
                key = number
                break
        known = self.manifest.methods.get(key)
        if known is None or total not in (None, known.total):
            conditions = known.conditions if known else outline.conditions if outline else ()
            entry = MethodEntry(
                name=name, seed=context.seed, conditions=conditions, settings=settings, pool=pool, total=total
            )
            self._write(methods={**self.manifest.methods, key: entry})
        return key

    def add_answers(self, answers: Sequence[Row], questions: Mapping[str, Mapping[str, Any]]) -> None:
        """Store the answers of one call of the backend, and the questions that run.json does not have yet, by id.

        An answer has its key, the id of its question, the digests of its images, and its logits.
        """
        session = self._begin()
        if questions:
            self._write(questions={**self.manifest.questions, **questions})
        self._answers.append(
            {**row, "more": len(answers) - number, "session": session} for number, row in enumerate(answers, start=1)
        )
        self.index.add_answers(answers)
        self._save_if_due()

    def add_outcome(self, outcome: Outcome, *, asked: bool = True) -> None:
        """Store the outcome of an image; `asked` is False if other methods had asked everything before.

        Raises a StoreError where the disk refuses; then nothing is stored.
        """
        more = {"asked": asked, "answers_end": self._answers.size, "session": self._begin()}
        self._images.append([asdict(outcome) | more | {"time": round(time.time(), 3)}])
        self.index.add_outcome(outcome)
        self._save_if_due()

    def save(self) -> None:
        """Make everything so far outlive a loss of power, and bring the index file up to date."""
        self._sync()
        self.index.commit(self._answers, self._images)
        self._indexed = time.monotonic()

    def close(self) -> None:
        """Close the files."""
        for file in (self.index, self._answers, self._images):
            file.close()

    def _begin(self) -> int:
        """Return the number of this session, after writing down its environment when it is the first thing stored."""
        if self._session is None:
            session = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "environment": self._environment}
            self._session = len(self.manifest.sessions)
            self._write(sessions=(*self.manifest.sessions, session))
        return self._session

    def _write(self, **changes: Any) -> None:  # noqa: ANN401 (fields of the manifest)
        manifest = replace(self.manifest, **changes)
        write_manifest(self.folder, manifest)
        self.manifest = manifest

    def _save_if_due(self) -> None:
        now = time.monotonic()
        if now - self._indexed >= INDEX_SECONDS:
            self.save()
        elif now - self._synced >= SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        self._answers.sync()  # first: no outcome may outlive the answers that it stands on
        self._images.sync()
        self._synced = time.monotonic()


@contextmanager
def open_run(folder: str | os.PathLike[str], fingerprint: Fingerprint, *, model: str) -> Iterator[Run]:
    """Open a run folder for writing, or begin one, and hold its lock.

    Args:
        folder: Made if it does not exist.
        fingerprint: That of the backend that will answer.
        model: What `qdebias.load_backend` took, so that the run can be resumed by its folder alone.

    Raises:
        StoreError: The folder holds answers of another model, or something else, or is in use, or cannot be written.
    """
    path = Path(folder)
    with writing(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
            names = [] if (path / NAME).exists() else sorted(entry.name for entry in path.iterdir())
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"{folder} is not a folder; choose another name for the run") from error
    strange = [name for name in names if not name.startswith(f".{NAME}.") and name not in ("lock", "lock.holder")]
    if strange:
        raise StoreError(f"{folder} holds {strange[0]} and no run; choose a new or empty folder")
    with locked(path):
        if not (path / NAME).exists():
            write_manifest(path, Manifest(model=model, identity=dict(fingerprint.identity)))
        manifest = read_manifest(path)
        if differences := identity_difference(manifest.identity, fingerprint.identity):
            kind = manifest.identity.get("dtype")
            flag = f" (--dtype {kind})" if kind != fingerprint.identity.get("dtype") else ""
            raise StoreError(
                f"{path} holds the answers of another model, and answers are never mixed; {'; '.join(differences)}. "
                f"Load the same model{flag}, or choose another folder"
            )
        with closing(Run(path, manifest, fingerprint)) as run:
            run.repair()
            yield run
            run.save()


@contextmanager
def open_snapshot(folder: str | os.PathLike[str]) -> Iterator[Snapshot]:
    """Read a run folder, also while another process writes it; a StoreError where it holds no run, or a damaged one."""
    path = Path(folder)
    read_manifest(path)
    with closing(copy_index(path)) as index:  # before run.json, which then describes every method of the index
        yield Snapshot(folder=path, manifest=read_manifest(path), index=index)
