"""Training-free image quality assessment with large multimodal models.

    import qdebias

    for score in qdebias.score(["a.jpg", "b.png"]):
        print(score.value)

The names below are loaded when they are first used, so `import qdebias` stays light and silent.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdebias import degrade, errors
    from qdebias.backends.base import Backend, Fingerprint
    from qdebias.backends.fake import FakeBackend
    from qdebias.backends.load import load_backend
    from qdebias.evaluation import Report, evaluate
    from qdebias.evaluation.fitting import fit
    from qdebias.image import load_image
    from qdebias.inputs.datasets import Dataset, load_dataset
    from qdebias.methods import presets
    from qdebias.methods.method import Method, Plan, QDebias, Score, Vanilla
    from qdebias.methods.plan import Failure
    from qdebias.metrics.measures import Correlation, correlate
    from qdebias.prompts import Question, Request
    from qdebias.runs.run import Run, open_run
    from qdebias.runs.scorer import Scorer, score
    from qdebias.runs.stored import StoredBackend, StoredScorer

__version__ = "0.1.0"

_HOME = {
    "Backend": "qdebias.backends.base",
    "Correlation": "qdebias.metrics.measures",
    "Dataset": "qdebias.inputs.datasets",
    "FakeBackend": "qdebias.backends.fake",
    "Failure": "qdebias.methods.plan",
    "Fingerprint": "qdebias.backends.base",
    "Method": "qdebias.methods.method",
    "Plan": "qdebias.methods.method",
    "QDebias": "qdebias.methods.method",
    "Question": "qdebias.prompts",
    "Report": "qdebias.evaluation",
    "Request": "qdebias.prompts",
    "Run": "qdebias.runs.run",
    "Score": "qdebias.methods.method",
    "Scorer": "qdebias.runs.scorer",
    "StoredBackend": "qdebias.runs.stored",
    "StoredScorer": "qdebias.runs.stored",
    "Vanilla": "qdebias.methods.method",
    "correlate": "qdebias.metrics.measures",
    "evaluate": "qdebias.evaluation",
    "fit": "qdebias.evaluation.fitting",
    "load_backend": "qdebias.backends.load",
    "load_dataset": "qdebias.inputs.datasets",
    "load_image": "qdebias.image",
    "open_run": "qdebias.runs.run",
    "score": "qdebias.runs.scorer",
}
_MODULES = {"degrade": "qdebias.degrade", "errors": "qdebias.errors", "presets": "qdebias.methods.presets"}

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
        return import_module(_MODULES[name])
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'qdebias' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
