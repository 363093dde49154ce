"""A method with its name."""

from dataclasses import dataclass

from qdebias.backends.base import Backend, Cutting
from qdebias.backends.top import TopReader
from qdebias.methods.method import Method, QDebias
from qdebias.methods.sources import PAPER
from qdebias.prompts import TopQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named method.

    Attributes:
        name: What it is called on the command line: a preset, an expression in its canonical form, or a file.
        method: The method itself.
        summary: What it is, in one line, with its place in the paper or the work it comes from.
        source: Where it comes from.
        cut: How mPLUG-Owl3 cuts images under this method; None leaves the backend as it was loaded. "official" is
            what the stock processor of the loaded release does. Other models do not cut in this way.
    """

    name: str
    method: Method
    summary: str
    source: str = PAPER
    cut: str | None = None

    def fit(self, backend: Backend) -> Backend:
        """Return the backend with what belongs to this method; the model is not loaded again.

        Raises:
            BackendError: The method reads the likeliest words, and the backend does not tell them.
        """
        reads = isinstance(backend, TopReader)
        model = backend.backend if isinstance(backend, TopReader) else backend
        if self.cut is not None and isinstance(model, Cutting):
            model = model.with_cut(self.cut)
        return TopReader(model) if reads or _reads_likeliest(self.method) else model


def _reads_likeliest(method: Method) -> bool:
    asked = method.qualities if isinstance(method, QDebias) else ()
    return any(isinstance(question, TopQuestion) for question in asked)
