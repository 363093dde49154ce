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
    from qdebias.engine import Failure, Scorer
    from qdebias.image import load_image
    from qdebias.method import Method, Plan, QDebias, Score, Vanilla
    from qdebias.prompts import Question, Request

__version__ = "0.1.0"

_HOME = {
    "Backend": "qdebias.backends.base",
    "FakeBackend": "qdebias.backends.fake",
    "Failure": "qdebias.engine",
    "Fingerprint": "qdebias.backends.base",
    "Method": "qdebias.method",
    "Plan": "qdebias.method",
    "QDebias": "qdebias.method",
    "Question": "qdebias.prompts",
    "Request": "qdebias.prompts",
    "Score": "qdebias.method",
    "Scorer": "qdebias.engine",
    "Vanilla": "qdebias.method",
    "load_backend": "qdebias.backends.load",
    "load_image": "qdebias.image",
    "score": "qdebias.api",
}
_MODULES = ("degrade", "errors", "presets")

__all__ = [
    "Backend",
    "Failure",
    "FakeBackend",
    "Fingerprint",
    "Method",
    "Plan",
    "QDebias",
    "Question",
    "Request",
    "Score",
    "Scorer",
    "Vanilla",
    "degrade",
    "errors",
    "load_backend",
    "load_image",
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
