"""From a dataset and a model to a report, through a run folder that can be resumed."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from tempfile import TemporaryDirectory

from qdebias.backends.base import Backend, Fingerprint
from qdebias.evaluation.evidence import first_items
from qdebias.evaluation.readout import Readout
from qdebias.evaluation.report import Report, evaluated, make_report
from qdebias.image import MAX_PIXELS
from qdebias.inputs.datasets import Dataset, load_dataset
from qdebias.inputs.datasets.load import refuse_videos
from qdebias.methods.plan import Method
from qdebias.methods.recipe import Recipe
from qdebias.runs.run import Run, open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer


def evaluate(
    dataset: "Dataset | str | PathLike[str]",
    *,
    model: str | Backend = "nano",
    model_name: str | None = None,
    method: str | Method | Recipe = "paper",
    run: "str | PathLike[str] | None" = None,
    seed: int = 0,
    limit: int | None = None,
    readout: Readout = "exact",
    resamples: int = 1000,
    batch: int = 8,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    on_note: Callable[[str], None] = warnings.warn,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Score a dataset and correlate the scores with the human ones.

    Stopped at any point, the same call resumes from there; called again, it asks nothing. Images that cannot be
    scored are rows with an error: they are left out of the correlation, and counted.

    Args:
        dataset: From `qdebias.load_dataset`, or the path of a label file.
        model: What `qdebias.load_backend` takes, or a backend that is already loaded.
        model_name: What `qdebias.load_backend` took, where `model` is loaded already: noted in the run folder.
        method: The name of a preset, or a method object.
        run: Folder in which every answer of the model is kept; see docs/runs.md. None keeps nothing.
        seed: Seed of the random degradations.
        limit: Take only this many images from the start of the dataset; the report says so.
        readout: How scores are read from logits, see `qdebias.evaluation.readout`.
        resamples: How many bootstrap resamples the 95 % intervals have; 0 for no intervals.
        batch: How many images are handed to the model at a time.
        max_pixels: Larger images are refused before they are decoded.
        max_side: See `qdebias.Scorer`; None scores images as they are.
        on_note: Is told what a user should know about the run folder, such as that versions have changed.
        on_progress: Is told how many images are done, again and again.

    Raises:
        SettingError: A setting is impossible, or too few images have a score for a correlation.
        StoreError: The run folder cannot be used.
        BackendError: The model cannot be loaded or cannot answer.
    """
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    refuse_videos(data)
    part = first_items(data, limit)
    scorer = Scorer(backend=model, method=method, seed=seed, batch=batch, max_pixels=max_pixels, max_side=max_side)
    spec = model_name or (model if isinstance(model, str) else type(model).__name__)
    with opened_run(run, scorer.fingerprint, spec, on_note) as folder:
        stored = StoredScorer(folder, scorer, total=len(part))
        for asked, _ in enumerate(stored.ask(part.paths), start=1):
            if on_progress is not None:
                on_progress(asked + stored.skipped)
        results = zip(part.items, stored.results(part.paths), strict=True)
        rows = [evaluated(part, item, result, scorer.method, readout) for item, result in results]
    names = {"model": scorer.backend.fingerprint.identity.get("model", spec), "method": scorer.recipe.name}
    return make_report(data, rows, **names, seed=seed, limit=limit, readout=readout, resamples=resamples)


@contextmanager
def opened_run(
    run: "str | PathLike[str] | None", fingerprint: Fingerprint, model: str, on_note: Callable[[str], None]
) -> Iterator[Run]:
    """Open the run folder, or one that is gone afterwards, and tell what there is to tell about it."""
    with ExitStack() as stack:
        path = stack.enter_context(TemporaryDirectory(prefix="qdebias-")) if run is None else run
        folder = stack.enter_context(open_run(path, fingerprint, model=model))
        for note in folder.notes:
            on_note(note)
        yield folder
