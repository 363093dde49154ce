"""A fit of a model's answers to human scores, which is a method of its own, see `qdebias.methods.fitted`.

It is a ridge regression on the log-odds under a few methods, and on the hidden state that the model answers from, or
the logits of the options if a server does not return states. Each fold of the cross-validation chooses the penalty
anew. The zero-shot log-odds are not penalised, so a fit to few labels is the zero-shot score on another scale.
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
"""The default methods that features are computed from."""

LEAST = 40
"""Fewest labelled images for a fit."""

FITTED = "fit, cross-validated"
BASELINE = "sharpness"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A fit, which is a method for a `Scorer` of the same model, and the images that failed.

    The comparison is between its cross-validated predictions, the zero-shot score and the baseline `sharpness`, on the
    same images.
    """

    method: Fitted
    comparison: Comparison
    failures: tuple[Failure, ...]

    def save(self, path: "str | PathLike[str]") -> None:
        """Write the fit; `path` is then the name of a method. See `qdebias.methods.fitted.save_fit`."""
        save_fit(self.method, path)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """(N, d) features of N images, in `blocks` of these sizes, and the zero-shot scores; `quality` is higher better."""

    dataset: Dataset
    features: FloatArray
    blocks: tuple[int, ...]
    zero_shot: tuple[Score, ...]
    failures: tuple[Failure, ...]
    quality: FloatArray
    groups: npt.NDArray[np.str_]  # an image without a group is a group of its own


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
    """Fit human scores by a model's answers about their images.

    Args:
        dataset: From `qdebias.load_dataset`; folds of the cross-validation share no group of images.
        model: What `qdebias.load_backend` takes, or a backend that is already loaded.
        model_name: What `qdebias.load_backend` took, where `model` is loaded already.
        methods: Names of methods whose answers are features; the first gives the zero-shot score.
        run: Folder in which every answer of the model is kept; None keeps nothing.
        seed: Seed of the random degradations.
        folds: Number of folds of the cross-validation.
        level: Share of new images whose human score should lie in the interval.
        resamples: How many bootstrap resamples the 95 % intervals have.
        batch: How many images are handed to the model at a time.
        max_pixels: Larger images are refused.
        max_side: See `qdebias.Scorer`.
        on_note: Called with each message about the run folder that a user should read.
        on_progress: Called with the number of images that are done.

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
    labels, predicted, learned, interval = _learned(sample, folds, level)
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
    """Return the features of the images of a dataset; a SettingError if fewer than `LEAST` have them."""
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
    dataset = replace(dataset, items=tuple(kept))
    return Sample(
        dataset=dataset,
        features=np.array([np.concatenate(row) for row in rows]),
        blocks=tuple(map(len, rows[0])),
        zero_shot=tuple(scores),
        failures=tuple(failures),
        quality=dataset.quality,
        groups=np.array([item.group or item.path for item in kept]),
    )


def _learned(sample: Sample, folds: int, level: float) -> tuple[Labels, FloatArray, Linear, Interval]:
    """Return the labels, their (N,) cross-validated predictions, the map learned from all, and the error interval."""
    check_level(level, len(sample.quality))
    groups = len(set(sample.groups.tolist()))
    if not 2 <= folds <= groups / 2:
        raise SettingError(f"folds must be 2 or more, and {folds} need {2 * folds} groups of images, got {groups}")
    dataset, mos = sample.dataset, sample.dataset.mos
    if is_constant(mos):
        raise SettingError(f"all {len(mos)} labels are {mos[0]:g}; a fit needs images that differ")
    labels = Labels(
        count=len(mos),
        summary=dataset.summary,
        digest=dataset.label_digest,
        direction=dataset.direction,
        low=float(mos.min()),
        high=float(mos.max()),
        mean=float(mos.mean()),
        deviation=float(mos.std()),
    )
    ridge = Ridge(blocks=sample.blocks, free=1, folds=folds)
    target = (sample.quality - sample.quality.mean()) / labels.deviation
    predicted = ridge.left_out(sample.features, target, sample.groups)
    parts = [out for _, out in folds_of(sample.groups, folds, ridge.seed)]
    interval = conformal_interval(np.abs(predicted - target) * labels.deviation, parts, level)
    return labels, predicted, ridge.learn(sample.features, target, sample.groups), interval


def _compare(sample: Sample, predicted: FloatArray, zero_shot: Recipe, *, model: str, resamples: int) -> Comparison:
    """Compare cross-validated predictions with the zero-shot score, which they must exceed, and the baseline."""
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
