"""A method with its name."""

from dataclasses import dataclass

from qdebias.backends.base import Backend, Cutting
from qdebias.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named method.

    Attributes:
        name: What it is called on the command line: a preset, an expression in its canonical form, or a file.
        method: The method itself.
        summary: What it is, in one line, with its place in the paper or the work it comes from.
        cut: How mPLUG-Owl3 cuts images under this method; None leaves the backend as it was loaded. "official" is
            what the stock processor of the loaded release does. Other models do not cut in this way.
    """

    name: str
    method: Method
    summary: str
    cut: str | None = None

    def fit(self, backend: Backend) -> Backend:
        """Return the backend with the options that belong to this method; the model is not loaded again."""
        if self.cut is not None and isinstance(backend, Cutting):
            return backend.with_cut(self.cut)
        return backend
