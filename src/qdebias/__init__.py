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
    "qdebias.backends.base": ("Backend", "Fingerprint"),
    "qdebias.backends.fake": ("FakeBackend",),
    "qdebias.backends.load": ("load_backend",),
    "qdebias.evaluation": ("Report", "evaluate"),
    "qdebias.evaluation.fitting": ("fit",),
    "qdebias.image": ("load_image",),
    "qdebias.inputs.datasets": ("Dataset", "load_dataset"),
    "qdebias.methods.method": ("Method", "Plan", "QDebias", "Score", "Vanilla"),
    "qdebias.methods.plan": ("Failure",),
    "qdebias.metrics.measures": ("Correlation", "correlate"),
    "qdebias.prompts": ("Question", "Request"),
    "qdebias.runs.run": ("Run", "open_run"),
    "qdebias.runs.scorer": ("Scorer", "score"),
    "qdebias.runs.stored": ("StoredBackend", "StoredScorer"),
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
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'qdebias' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
