"""A fit as a method, `--method mine.fit`: features of the model, weighed by the user's labels; see `qdebias.fit`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from qdebias.backends.base import identity_difference
from qdebias.equations import FloatArray, sigmoid
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.describe import describe
from qdebias.methods.method import Answers, Context, Plan, QDebias, Score
from qdebias.methods.outline import QUERY, Asked, Outline, method_id
from qdebias.methods.recipe import Recipe
from qdebias.metrics.mos import Direction, Interval, Mos
from qdebias.metrics.ridge import Linear
from qdebias.prompts import VANILLA, Request, StateQuestion, TopQuestion
from qdebias.system.output import read_settings, write_settings

FORMAT = "qdebias fit 1"

FIT = ".fit"  # how the name of a file with a fit ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The method that asks for all features of a fit; its own score is the zero-shot score."""

    methods: tuple[QDebias, ...]  # their log-odds are features; the first gives the zero-shot score
    state: StateQuestion | None  # answered by the hidden state of the model; None for a model without access to it

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Ask what every method asks, and for the hidden state."""
        plans = [method.plan(image, context) for method in self.methods]
        state = () if self.state is None else (Request(images=(image,), questions=(self.state,)),)
        return Plan(
            requests=tuple(request for plan in plans for request in plan.requests) + state,
            conditions=tuple(condition for plan in plans for condition in plan.conditions),
        )

    @property
    def outline(self) -> Outline:
        """The requests of a plan, with names in place of images."""
        outlines = [method.outline for method in self.methods]
        state = () if self.state is None else (Asked(images=(QUERY,), questions=(self.state,)),)
        return Outline(
            requests=tuple(asked for one in outlines for asked in one.requests) + state,
            conditions=tuple(name for one in outlines for name in one.conditions),
            kinds=tuple(kind for one in outlines for kind in one.kinds),
        )

    def combine(self, plan: Plan, answers: Answers) -> Score:  # noqa: ARG002 (the plan holds nothing that is needed)
        """Return the zero-shot score, with all answers."""
        return replace(self.scores(answers)[0], logits=tuple(map(tuple, answers)))

    def blocks(self, answers: Answers) -> tuple[FloatArray, ...]:
        """Return the features of an image: the log-odds under each method, and the hidden state.

        Where there is no state, the log-odds of every option of every question stand in its place.
        """
        odds = np.array([score.log_odds for score in self.scores(answers)], dtype=np.float64)
        if self.state is not None:
            return odds, answers[-1][0]
        return odds, np.concatenate([logits - logits.mean() for row in answers for logits in row])

    def scores(self, answers: Answers) -> list[Score]:
        """Return the score under each method."""
        rest = iter(answers)
        nothing = Plan(requests=())
        return [method.combine(nothing, list(islice(rest, len(method.outline.requests)))) for method in self.methods]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels that a fit was made with."""

    count: int  # of the images
    summary: str  # what they are, in words
    digest: str  # of the label files, see `qdebias.inputs.datasets.Dataset`
    direction: Direction
    low: float  # lowest label; no prediction is lower
    high: float  # highest; none is higher
    mean: float
    deviation: float  # standard deviation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A method whose score is predicted from the features of an image, linearly.

    The log-odds of the score are the predicted label in standard deviations from the mean label, larger where the image
    is better; so the score of an image as good as the labelled ones are on average is 0.5.
    """

    features: Features
    names: tuple[str, ...]  # of the methods of the features
    predict: Linear  # from the features to the log-odds
    labels: Labels
    interval: Interval
    model: str  # what `qdebias.load_backend` took
    identity: Mapping[str, str]  # `Fingerprint.identity` of the model
    report: Mapping[str, Any]  # agreement in cross-validation, as in `qdebias.evaluation.comparison.Comparison`

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Ask for the features."""
        return self.features.plan(image, context)

    @property
    def outline(self) -> Outline:
        """The requests of a plan, with names in place of images."""
        return self.features.outline

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Return the predicted quality; P(good) and weights of the conditions are those of the zero-shot score."""
        features = np.concatenate(self.features.blocks(answers))
        if features.shape != self.predict.weight.shape:
            raise SettingError(
                f"this fit weighs {len(self.predict.weight)} features, and the model gives {len(features)}; "
                f"fit another one with qdebias fit"
            )
        odds, score = float(self.predict(features)), self.features.combine(plan, answers)
        return replace(score, value=float(sigmoid(odds)), log_odds=odds, spread=None, probabilities={}, deviation=None)

    @property
    def increasing(self) -> bool:
        """Whether higher labels are better."""
        return self.labels.direction == "higher"

    def mos(self, score: float) -> Mos:
        """Return the label that a score stands for, with the interval of cross-validated errors about it."""
        odds, labels = float(np.log(score) - np.log1p(-score)), self.labels
        label = labels.mean + (odds if self.increasing else -odds) * labels.deviation
        value = float(np.clip(label, labels.low, labels.high))
        return Mos(value=value, low=value - self.interval.half_width, high=value + self.interval.half_width)

    def check(self, identity: Mapping[str, str]) -> None:
        """Refuse another model, or another version of it, than the one whose answers were fitted."""
        different = identity_difference(self.identity, identity, where="the fit")
        if different:
            raise SettingError(
                f"this fit is of the model {self.model} as it was then ({'; '.join(different)}); fit another one with "
                f"qdebias fit"
            )


def features_of(recipes: Sequence[Recipe], *, state: bool) -> Features:
    """Return the features of a fit: the log-odds of each method, the first of which is the zero-shot score's.

    With `state`, the hidden state of the model after the question of the preset `vanilla` is another feature.
    """
    for recipe in recipes:
        method = recipe.method
        if not isinstance(method, QDebias) or not method.outline.shared or method.prior or recipe.cut is not None:
            raise SettingError(
                f"method {recipe.name!r} cannot be a part of a fit; choose paper, vanilla or a readout of these"
            )
        if any(isinstance(question, TopQuestion) for question in method.questions):
            raise SettingError(f"method {recipe.name!r} reads whichever words are likeliest, which cannot be fitted")
    methods = tuple(recipe.method for recipe in recipes if isinstance(recipe.method, QDebias))
    return Features(methods=methods, state=StateQuestion(**asdict(VANILLA)) if state else None)


def save_fit(fit: Fitted, path: "str | PathLike[str]") -> None:
    """Write a fit as JSON."""
    check_name(path)
    linear = {name: getattr(fit.predict, name).tolist() for name in _ARRAYS}
    said = {
        "format": FORMAT,
        "model": fit.model,
        "identity": dict(fit.identity),
        "names": fit.names,
        "state": fit.features.state is not None,
        "asked": method_id(describe(fit.features), 0),
        "labels": asdict(fit.labels),
        "interval": asdict(fit.interval),
        "report": fit.report,
        "predict": {**linear, "offset": fit.predict.offset},
    }
    write_settings(Path(path), said)


def check_name(path: "str | PathLike[str]") -> None:
    """Check that a file can be recognised as a fit by its name."""
    if Path(path).suffix != FIT:
        raise SettingError(f"{path}: the name of a fit ends in {FIT}; choose one that does")


_ARRAYS = ("mean", "scale", "weight")


def load_fit(path: "str | PathLike[str]", get: Callable[[str], Recipe]) -> Fitted:
    """Return the fit of a file; refuse one whose methods ask something else by now, or that predicts nothing.

    `get` is `qdebias.methods.presets.get`, from the name of a method to the method.
    """

    def fit_of(said: Mapping[str, Any]) -> Fitted:
        features = features_of([get(name) for name in said["names"]], state=said["state"])
        if said["asked"] != method_id(describe(features), 0):
            names = " and ".join(said["names"])
            raise SettingError(f"was fitted when {names} asked something else; fit it again with qdebias fit")
        arrays = {name: np.array(said["predict"][name], dtype=np.float64) for name in _ARRAYS}
        predict = Linear(**arrays, offset=float(said["predict"]["offset"]))
        labels, interval = Labels(**said["labels"]), Interval(**said["interval"])
        numbers = [*arrays.values(), np.full(len(predict.mean), predict.offset)]
        if len({array.shape for array in arrays.values()}) > 1 or not np.isfinite(numbers).all():
            raise ValueError("its weights are not numbers")
        if not (predict.scale > 0).all():
            raise ValueError("its features have no scale")
        if not (-np.inf < labels.low <= labels.mean <= labels.high < np.inf and 0 < labels.deviation < np.inf):
            raise ValueError("its labels have no scale")
        if labels.direction not in ("higher", "lower"):
            raise ValueError("its labels have no direction")
        return Fitted(
            features=features,
            names=tuple(said["names"]),
            predict=predict,
            labels=labels,
            interval=interval,
            model=said["model"],
            identity=dict(said["identity"]),
            report=dict(said["report"]),
        )

    return read_settings(Path(path), FORMAT, fit_of, what="fit", command="qdebias fit")
