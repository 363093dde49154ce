"""From a dataset with human scores and a model to a fit: a method of one's own, see `qdebias.methods.fitted`.

A ridge on what the model knows of an image: the log-odds under a few methods, and the hidden state that it answers
from or, of a server, the logits of the options. What the fit is worth is found by cross-validation, in which the
strength of the ridge is chosen again each time, without the images that are left out. The zero-shot log-odds are not
penalised: a fit to few labels is the zero-shot score on another scale, and no worse.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
import numpy.typing as npt

from qdebias.backends.base import Backend, TellsStates
from qdebias.backends.baselines import BASELINES
from qdebias.backends.load import load_backend
from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation.comparison import Comparison, compare
from qdebias.evaluation.evidence import Scores, collect, evidence_of
from qdebias.evaluation.report import opened_run
from qdebias.image import MAX_PIXELS
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.fitted import Features, Fitted, Labels, features_of, save_fit
from qdebias.methods.plan import Failure, Score
from qdebias.methods.recipe import Recipe
from qdebias.metrics.measures import is_constant
from qdebias.metrics.mos import Interval, check_level, conformal_interval
from qdebias.metrics.ridge import Linear, Ridge, folds_of
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredBackend

METHODS = ("paper", "vanilla", "vanilla+levels5")
"""What a model is asked for its features where no methods are named."""

LEAST = 40
"""Fewest labelled images that a fit is made with."""

FITTED = "fit, cross-validated"
BASELINE = "sharpness"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A fit, a method that a `Scorer` of the same model takes, and the images that have no features.

    The comparison is of the agreement with the labels of its cross-validated predictions, of the zero-shot score and of
    the baseline `sharpness`, on the same images.
    """

    method: Fitted
    comparison: Comparison
    failures: tuple[Failure, ...]

    def save(self, path: "str | PathLike[str]") -> None:
        """Write the fit; from then on `path` is the name of a method. See `qdebias.methods.fitted.save_fit`."""
        save_fit(self.method, path)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """What a model knows of N images: (N, d) features, in `blocks` of so many, and the scores without labels."""

    dataset: Dataset
    features: FloatArray
    blocks: tuple[int, ...]
    zero_shot: tuple[Score, ...]
    failures: tuple[Failure, ...]

    @property
    def quality(self) -> FloatArray:
        """(N,) human scores, higher is better."""
        return self.dataset.quality

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """(N,) group of each image; an image that stands for itself has one of its own."""
        return np.array([item.group or item.path for item in self.dataset.items])


def fit(
    dataset: Dataset,
    *,
    model: str | Backend = "nano",
    model_name: str | None = None,
    methods: Sequence[str] = METHODS,
    run: "str | PathLike[str] | None" = None,
    seed: int = 0,
    folds: int = 5,
    level: float = 0.9,
    resamples: int = 1000,
    batch: int = 8,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    on_note: Callable[[str], None] = warnings.warn,
    on_progress: Callable[[int], None] | None = None,
) -> Fit:
    """Fit human scores to what a model knows of their images.

    Args:
        dataset: From `qdebias.load_dataset`; what is predicted shares no group with what is learned from.
        model: What `qdebias.load_backend` takes, or a backend that is already loaded.
        model_name: What `qdebias.load_backend` took, where `model` is loaded already.
        methods: Names of methods whose answers are features; the first gives the zero-shot score.
        run: Folder in which every answer of the model is kept; None keeps nothing.
        seed: Seed of the random degradations.
        folds: In how many parts the images are left out, one after the other.
        level: Share of new images whose human score is to lie in the interval.
        resamples: How many bootstrap resamples the 95 % intervals have.
        batch: How many images are handed to the model at a time.
        max_pixels: Larger images are refused.
        max_side: See `qdebias.Scorer`.
        on_note: Is told what a user should know about the run folder.
        on_progress: Is told how many images are done, again and again.

    Raises:
        SettingError: There are fewer than `LEAST` images, or the fit is no better than the zero-shot score.
    """
    recipes = list({recipe.name: recipe for recipe in map(presets.get, methods)}.values())
    backend = load_backend(model) if isinstance(model, str) else model
    features = features_of(recipes, state=isinstance(backend, TellsStates))
    scorer = Scorer(backend=backend, method=features, seed=seed, batch=batch, max_pixels=max_pixels, max_side=max_side)
    spec = model_name or (model if isinstance(model, str) else type(model).__name__)
    with opened_run(run, scorer.fingerprint, spec, on_note) as folder:
        scorer.backend = StoredBackend(backend, folder)
        sample = ask(dataset, scorer, features, on_progress)
    labels = _labels(sample, folds, level)
    predicted, learned, interval = _learned(sample, labels, folds, level)
    comparison = _compare(sample, predicted, recipes[0], model=spec, resamples=resamples)
    made = Fitted(
        features=features,
        names=tuple(recipe.name for recipe in recipes),
        predict=learned,
        labels=labels,
        interval=interval,
        model=spec,
        identity=scorer.fingerprint.identity,
        report=comparison.values(),
    )
    return Fit(method=made, comparison=comparison, failures=sample.failures)


def ask(
    dataset: Dataset, scorer: Scorer, features: Features, on_progress: Callable[[int], None] | None = None
) -> Sample:
    """Ask a model for the features of the images of a dataset, of which `LEAST` or more must have some."""
    rows, scores, kept, failures = [], [], [], []
    results = scorer.score_many(dataset.paths, on_error="return")
    for done, (item, result) in enumerate(zip(dataset.items, results, strict=True), start=1):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            rows.append(features.blocks(result.logits))
            scores.append(replace(result, logits=()))
            kept.append(item)
        if on_progress is not None:
            on_progress(done)
    if len(kept) < LEAST:
        failed = f", of which {len(failures)} failed" if failures else ""
        raise SettingError(f"a fit needs {LEAST} labelled images or more, got {len(dataset)}{failed}")
    return Sample(
        dataset=replace(dataset, items=tuple(kept)),
        features=np.array([np.concatenate(row) for row in rows]),
        blocks=tuple(map(len, rows[0])),
        zero_shot=tuple(scores),
        failures=tuple(failures),
    )


def _labels(sample: Sample, folds: int, level: float) -> Labels:
    """Return what the labels are, if so many folds and such an interval can be made of them."""
    check_level(level, len(sample.quality))
    groups = len(set(sample.groups.tolist()))
    if not 2 <= folds <= groups / 2:
        raise SettingError(f"folds are 2 or more, and {folds} need {2 * folds} groups of images, of which are {groups}")
    dataset, mos = sample.dataset, sample.dataset.mos
    if is_constant(mos):
        raise SettingError(f"all {len(mos)} labels are {mos[0]:g}; a fit needs images that differ")
    return Labels(
        count=len(mos),
        summary=dataset.summary,
        digest=dataset.label_digest,
        direction=dataset.direction,
        low=float(mos.min()),
        high=float(mos.max()),
        mean=float(mos.mean()),
        deviation=float(mos.std()),
    )


def _learned(sample: Sample, labels: Labels, folds: int, level: float) -> tuple[FloatArray, Linear, Interval]:
    """Return (N,) labels predicted without their image, what is learned from all, and how far off labels may be."""
    ridge = Ridge(blocks=sample.blocks, free=1, folds=folds)
    target = (sample.quality - sample.quality.mean()) / labels.deviation
    predicted = ridge.left_out(sample.features, target, sample.groups)
    parts = [out for _, out in folds_of(sample.groups, folds, ridge.seed)]
    interval = conformal_interval(np.abs(predicted - target) * labels.deviation, parts, level)
    return predicted, ridge.learn(sample.features, target, sample.groups), interval


def _compare(sample: Sample, predicted: FloatArray, zero_shot: Recipe, *, model: str, resamples: int) -> Comparison:
    """Compare cross-validated predictions with the zero-shot score, which they have to surpass, and the baseline."""
    baseline = Scorer(backend=BASELINES[BASELINE], method="vanilla")
    results = {
        FITTED: Scores(value=predicted, order=predicted),
        zero_shot.name: collect(zero_shot.method, sample.zero_shot),
        BASELINE: collect(baseline.method, baseline.score_many(sample.dataset.paths, on_error="return")),
    }
    evidence = evidence_of(sample.dataset, results, model=model, seed=0)
    found = compare(evidence, list(results), against=zero_shot.name, resamples=resamples)
    fitted, plain = (one.agreement for one in found.methods[:2])
    if fitted.srcc is None:
        raise SettingError(f"the labels cannot be predicted ({fitted.notes[0]})")
    if plain.srcc and fitted.srcc.value <= plain.srcc.value:
        raise SettingError(
            f"a fit is no better than the zero-shot score here: SRCC {fitted.srcc} in cross-validation, and "
            f"{plain.srcc} by {zero_shot.name} without labels, on {fitted.count} images; label more, or score without "
            f"a fit"
        )
    return found
