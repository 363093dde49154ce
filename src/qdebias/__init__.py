"""Training-free image quality assessment with large multimodal models.

    import qdebias

    for score in qdebias.score(["a.jpg", "b.png"]):
        print(score.value)

The names below are loaded when they are first used, so `import qdebias` stays light and silent.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdebias import degrade, errors, presets
    from qdebias.api import score
    from qdebias.backends.base import Backend, Fingerprint
    from qdebias.backends.fake import FakeBackend
    from qdebias.backends.load import load_backend
    from qdebias.correlation import Correlation, correlate
    from qdebias.data import Dataset, load_dataset
    from qdebias.engine import Failure, Scorer
    from qdebias.evaluation import Report, evaluate
    from qdebias.fitting import fit
    from qdebias.image import load_image
    from qdebias.method import Method, Plan, QDebias, Score, Vanilla
    from qdebias.prompts import Question, Request
    from qdebias.store import Run, StoredBackend, open_run
    from qdebias.stored import StoredScorer

__version__ = "0.1.0"

_HOME = {
    "Backend": "qdebias.backends.base",
    "Correlation": "qdebias.correlation",
    "Dataset": "qdebias.data",
    "FakeBackend": "qdebias.backends.fake",
    "Failure": "qdebias.engine",
    "Fingerprint": "qdebias.backends.base",
    "Method": "qdebias.method",
    "Plan": "qdebias.method",
    "QDebias": "qdebias.method",
    "Question": "qdebias.prompts",
    "Report": "qdebias.evaluation",
    "Request": "qdebias.prompts",
    "Run": "qdebias.store",
    "Score": "qdebias.method",
    "Scorer": "qdebias.engine",
    "StoredBackend": "qdebias.store",
    "StoredScorer": "qdebias.stored",
    "Vanilla": "qdebias.method",
    "correlate": "qdebias.correlation",
    "evaluate": "qdebias.evaluation",
    "fit": "qdebias.fitting",
    "load_backend": "qdebias.backends.load",
    "load_dataset": "qdebias.data",
    "load_image": "qdebias.image",
    "open_run": "qdebias.store",
    "score": "qdebias.api",
}
_MODULES = ("degrade", "errors", "presets")

__all__ = [
    "Backend",
    "Correlation",
    "Dataset",
    "Failure",
    "FakeBackend",
    "Fingerprint",
    "Method",
    "Plan",
    "QDebias",
    "Question",
    "Report",
    "Request",
    "Run",
    "Score",
    "Scorer",
    "StoredBackend",
    "StoredScorer",
    "Vanilla",
    "correlate",
    "degrade",
    "errors",
    "evaluate",
    "fit",
    "load_backend",
    "load_dataset",
    "load_image",
    "open_run",
    "presets",
    "score",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"qdebias.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'qdebias' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
