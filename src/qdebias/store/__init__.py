"""The run folder: raw answers of one model, kept line by line, from which scores are derived; see docs/runs.md."""

from qdebias.store.backend import StoredBackend
from qdebias.store.opening import open_run
from qdebias.store.outcome import FileState, Outcome
from qdebias.store.run import Run
from qdebias.store.snapshot import Snapshot, open_snapshot

__all__ = ["FileState", "Outcome", "Run", "Snapshot", "StoredBackend", "open_run", "open_snapshot"]
