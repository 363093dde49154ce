"""Opening a run folder for writing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qdebias.backends.base import Fingerprint, identity_difference
from qdebias.errors import StoreError
from qdebias.runs.lines import cannot_write
from qdebias.runs.lock import locked
from qdebias.runs.manifest import NAME, Manifest, read_manifest, write_manifest
from qdebias.runs.run import Run


@contextmanager
def open_run(folder: str | os.PathLike[str], fingerprint: Fingerprint, *, model: str) -> Iterator[Run]:
    """Open a run folder for writing, or begin one, and hold its lock.

    Args:
        folder: Made where there is none.
        fingerprint: That of the backend that will answer.
        model: What `qdebias.load_backend` took, so that the run can be gone on with by its folder alone.

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
        raise StoreError(f"{folder} is no folder; choose another name for the run") from error
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
