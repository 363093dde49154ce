"""A model with a run folder, for the commands that ask about datasets."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from qdebias.backends.load import load_backend
from qdebias.cli.runs import say_notes
from qdebias.evaluation.tables import Asker
from qdebias.runs.opening import open_run


@contextmanager
def open_asker(
    model: str, run: Path | None, seed: int, batch: int, max_megapixels: float, device: str | None, dtype: str | None
) -> Iterator[Asker]:
    """Load a model and open its run folder; without a folder, one that is gone afterwards."""
    with ExitStack() as stack:
        backend = load_backend(model, device=device, dtype=dtype)
        folder = run or Path(stack.enter_context(TemporaryDirectory(prefix="qdebias-")))
        opened = stack.enter_context(open_run(folder, backend.fingerprint, model=model))
        say_notes(opened)
        pixels = round(max_megapixels * 1e6)
        yield Asker(run=opened, backend=backend, seed=seed, batch=batch, max_pixels=pixels)
