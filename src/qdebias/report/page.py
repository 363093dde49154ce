"""A run as one HTML page that needs nothing else: no network, no script, every picture inside."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from os.path import commonpath
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

import qdebias
from qdebias.backends.catalogue import CAUTIONS
from qdebias.equations import FloatArray
from qdebias.errors import QdebiasError, SettingError
from qdebias.evaluation.bias import Bias, deserved, fractional_ranks, measure_bias
from qdebias.evaluation.evidence import Evidence, Scores, read
from qdebias.image import RgbImage, digest, load_image
from qdebias.methods import presets
from qdebias.methods.describe import setting_lines
from qdebias.methods.outline import outline_of
from qdebias.methods.plan import Context, Failure, Score
from qdebias.methods.recipe import Recipe
from qdebias.metrics import charts
from qdebias.metrics.measures import LEAST, Correlation, correlate
from qdebias.report.figure import reduced, words
from qdebias.runs.derive import known_pixels, recorded
from qdebias.runs.manifest import Manifest
from qdebias.runs.run import Snapshot
from qdebias.system.output import write_file, written

SMALL, LARGE = 200, 320
"""Longest side of a picture in a gallery and in the details, in pixels."""

MOST_FAILURES = 200
MOST_CONTENTS = 20
"""Further ones are counted but not listed."""

PER_BIN, MOST_BINS = 10, 10

MEASURES = {"SRCC": "srcc", "PLCC": "plcc", "PLCC, 4-parameter logistic": "plcc_logistic", "KRCC": "krcc"}


class Condition(NamedTuple):
    """The mean answers under one condition; `same` is None if that was not asked."""

    kind: str
    good: float
    same: float | None
    weight: float


class Human(NamedTuple):
    """The human scores of the images of a report, (N,), and the agreement with them, also of the compared method.

    `agreement_before` is None if that method was not asked; `bias` is None if the labels give no content of images.
    """

    labels: Evidence
    quality: FloatArray
    agreement: Correlation
    agreement_before: Correlation | None
    bias: Bias | None


class Gallery(NamedTuple):
    """A few images with something in common: their indices, the most telling first, each with a caption."""

    title: str
    explanation: str
    indices: tuple[int, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """The scores of a run under one method, beside the method `before` if that was asked too, else "".

    `paths` are those of the (N,) images with a score, and `rank` is the place of each score among all, in (0, 1).
    Scores and ranks of `before` are NaN if unknown. A method without conditions has no mean `conditions`.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe
    before: str
    seed: int
    paths: tuple[str, ...]
    value: FloatArray
    value_before: FloatArray
    rank: FloatArray
    rank_before: FloatArray
    failures: tuple[Failure, ...]
    conditions: tuple[Condition, ...]
    human: Human | None


def read_facts(
    snapshot: Snapshot,
    *,
    method: str | Recipe,
    before: str | Recipe = "vanilla",
    seed: int = 0,
    labels: Evidence | None = None,
    resamples: int = 1000,
) -> Facts:
    """Compute the facts of a run from its stored answers, beside the method `before` if its answers are there.

    With human scores the report covers the images that have one. Intervals of the bias take a fifth of the resamples.
    """
    recipe, compared = presets.get(method), presets.get(before)
    readings, failures, conditions = _read(snapshot, recipe, seed)
    other: dict[str, tuple[float, float]] = {}
    if compared.name != recipe.name:
        with suppress(SettingError):
            other, _, _ = _read(snapshot, compared, seed)
    quality: dict[str, float] | None = None
    if labels is not None:
        labelled = (str(Path(labels.root, name)) for name in labels.names)
        quality = dict(zip(labelled, labels.quality.tolist(), strict=True))
    chosen = tuple(path for path in readings if quality is None or path in quality)
    if not chosen:
        which = "of the labelled images" if labels is not None else "at all"
        raise SettingError(f"{snapshot.folder} has no score under {recipe.name} {which}, so there is nothing to report")
    value, order = np.array([readings[path] for path in chosen]).T
    value_before, order_before = np.array([other.get(path, (np.nan, np.nan)) for path in chosen]).T
    known = ~np.isnan(order_before)
    rank_before = np.full(len(chosen), np.nan)
    rank_before[known] = fractional_ranks(order_before[known])
    human, other_name = None, compared.name if known.any() else ""
    if labels is not None and quality is not None:
        columns, names = (value, order, value_before, order_before), (other_name, recipe.name)
        human = _human(labels, np.array([quality[path] for path in chosen]), columns, names, resamples)
    return Facts(
        folder=snapshot.folder,
        manifest=snapshot.manifest,
        recipe=recipe,
        before=other_name,
        seed=seed,
        paths=chosen,
        value=value,
        value_before=value_before,
        rank=fractional_ranks(order),
        rank_before=rank_before,
        failures=tuple(one for one in failures if quality is None or one.name in quality),
        conditions=conditions,
        human=human,
    )


def _read(
    snapshot: Snapshot, recipe: Recipe, seed: int
) -> tuple[dict[str, tuple[float, float]], list[Failure], tuple[Condition, ...]]:
    """Return the scores by path, the failures and the mean answers by condition; raise if answers are missing."""
    readings: dict[str, tuple[float, float]] = {}
    failures: list[Failure] = []
    sums: FloatArray = np.zeros((3, 0))
    for path, result in recorded(snapshot, recipe, seed=seed):
        if isinstance(result, Failure):
            failures.append(result)
            continue
        readings[path] = read(recipe.method, result, "exact")
        same = result.same if len(result.same) else np.full(len(result.good), np.nan)
        sums = np.stack([result.good, same, result.weight]) + (sums if sums.size else 0)
    outline, means = outline_of(recipe.method), (sums / max(len(readings), 1)).T.tolist()
    kinds = () if outline is None or len(outline.kinds) != len(means) else outline.kinds
    conditions = tuple(
        Condition(words(kind), good, None if np.isnan(same) else same, weight)
        for kind, (good, same, weight) in zip(kinds, means, strict=False)
    )
    return readings, failures, conditions


def _human(
    labels: Evidence, quality: FloatArray, columns: Sequence[FloatArray], names: tuple[str, str], resamples: int
) -> Human:
    """Compare scores and what SRCC ranks, those of the other method behind them, with (N,) human scores."""
    agreements: list[Correlation | None] = []
    for value, order in (columns[:2], columns[2:]):
        known = ~np.isnan(value)
        found = None
        if known.sum() >= LEAST:
            found = correlate(value[known], quality[known], ranked_by=order[known], resamples=resamples)
        agreements.append(found)
    if agreements[0] is None:
        raise SettingError(f"{len(quality)} images with both scores are too few to be compared with people")
    scored = not any(labels.results.get(name, Scores(not_run="not asked")).not_run for name in names)
    both = scored and labels.contents
    bias = measure_bias(labels, before=names[0], after=names[1], resamples=resamples // 5) if both else None
    return Human(labels, quality, agreements[0], agreements[1], bias)


def galleries_of(facts: Facts, count: int) -> list[Gallery]:
    """Return the possible galleries, each of at most `count` images and at most half of all."""
    value, ranks, found = facts.value, facts.rank, []
    count = min(count, max(1, len(value) // 2))

    def add(title: str, explanation: str, key: FloatArray, captions: Sequence[str]) -> None:
        """Add the images with the largest key; those whose key is NaN are left out."""
        indices = [int(index) for index in np.argsort(-key, kind="stable")[:count] if not np.isnan(key[index])]
        if indices:
            found.append(Gallery(title, explanation, tuple(indices), tuple(captions[index] for index in indices)))

    scores = [f"score {one:.3f}" for one in value]
    add("Best", "The highest scores.", ranks, scores)
    add("Worst", "The lowest scores.", -ranks, scores)
    if facts.before:
        places = [
            " → ".join("unknown" if np.isnan(place) else f"{100 * place:.0f} %" for place in pair)
            for pair in zip(facts.rank_before, ranks, strict=True)
        ]
        about = f"Place among all images under {facts.before} → under {facts.recipe.name}; 100 % is the best image."
        for title, key in (("Raised", ranks - facts.rank_before), ("Lowered", facts.rank_before - ranks)):
            add(f"{title} most by debiasing", about, np.where(key > 0, key, np.nan), places)
    if facts.human is not None:
        error = ranks - deserved(ranks, facts.human.quality)
        both = [f"{one}, people {human:.3g}" for one, human in zip(scores, facts.human.quality, strict=True)]
        about = "Ranked farthest {} the images of the same human score."
        add("Too high", about.format("above"), np.where(error > 0, error, np.nan), both)
        add("Too low", about.format("below"), np.where(error < 0, -error, np.nan), both)
    return found


def write_page(facts: Facts, snapshot: Snapshot, out: Path, *, count: int = 6, title: str | None = None) -> None:
    """Write the report and replace an older one; each of the `count` images of a gallery takes about 60 kB."""
    galleries, human = galleries_of(facts, count), facts.human
    last = dict(facts.manifest.sessions[-1]) if facts.manifest.sessions else {}  # when and with what it was written
    versions = last.pop("environment", {})
    environment = Environment(
        loader=PackageLoader("qdebias.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        facts=facts,
        method=facts.recipe.name,
        caution=CAUTIONS.get(facts.manifest.model, ""),
        title=title or f"Image quality: {facts.folder.name}",
        version=qdebias.__version__,
        headline=_headline(facts),
        charts=_charts(facts),
        human=human,
        measures=[
            (title, *(_measure(one, name) for one in (human.agreement_before, human.agreement)))
            for title, name in MEASURES.items()
            if human
        ],
        galleries=galleries,
        details=_details(facts, snapshot, galleries),
        failures=facts.failures[:MOST_FAILURES],
        settings="\n".join(setting_lines(facts.recipe.method)),
        environment={**last, **versions},
    )
    with written(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, page)


def _headline(facts: Facts) -> dict[str, str]:
    """Return the number at the top of the report: title, interval and n, and the same for the compared method."""
    count = f"{len(facts.value):,} image{'' if len(facts.value) == 1 else 's'}"
    if facts.human is not None:
        srcc, _, interval = _measure(facts.human.agreement, "srcc").partition(" ")
        title, before = f"SRCC with the human scores of {facts.human.labels.title}", facts.human.agreement_before
        told = f"95 % interval {interval}, n = {count}" if interval else f"n = {count}"
        return {"value": srcc, "title": title, "interval": told, "before": _measure(before, "srcc")}
    low, median, high = np.quantile(facts.value, [0.05, 0.5, 0.95])
    told = f"90 % of the scores in [{low:.3f}, {high:.3f}], n = {count}"
    plain = f"{np.nanmedian(facts.value_before):.3f}" if facts.before else ""
    return {"value": f"{median:.3f}", "title": "median score", "interval": told, "before": plain}


def _measure(correlation: Correlation | None, name: str) -> str:
    """Return a measure with its 95 % interval, as "0.622 [0.579, 0.661]"; empty without a correlation."""
    if correlation is None:
        return ""
    value, interval = getattr(correlation, name), getattr(correlation, f"{name}_interval")
    if np.isnan(value):
        return "no fit"
    return f"{value:.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")


def _charts(facts: Facts) -> Mapping[str, Markup]:
    """Return the possible charts by name, as SVG."""
    known = ~np.isnan(facts.value_before)
    columns = [facts.value, facts.value_before[known]] if facts.before else [facts.value]
    made = {"distribution": charts.histogram(columns, "score")}
    x_label = f"score of {facts.recipe.name}"
    if facts.before:
        both = facts.value_before[known], facts.value[known]
        made["change"] = charts.scatter(*both, f"score of {facts.before}", x_label, same_scale=True)
    if facts.human is None:
        return made
    human, y_label, curve = facts.human, f"human score, {facts.human.labels.title}", None
    fit = human.agreement.logistic
    if fit.converged:
        steps = np.linspace(facts.value.min(), facts.value.max(), 100)
        curve = (steps, fit(steps))
    made["human"] = charts.scatter(facts.value, human.quality, x_label, y_label, curve=curve)
    count = max(1, min(MOST_BINS, len(facts.value) // PER_BIN))
    groups = [one for one in np.array_split(np.argsort(facts.value, kind="stable"), count) if len(one) > 1]
    bins = [  # mean score, mean human score and its standard error of equally large groups of images
        (facts.value[one].mean(), human.quality[one].mean(), human.quality[one].std(ddof=1) / len(one) ** 0.5)
        for one in groups
    ]
    if len(bins) > 1:
        made["calibration"] = charts.calibration(bins, f"mean {x_label}", f"mean {y_label}")
    if human.bias is not None:
        offsets, half = human.bias.offsets, MOST_CONTENTS // 2
        drawn = offsets if len(offsets) <= MOST_CONTENTS else (*offsets[:half], *offsets[-half:])
        rows = [(one.content, one.count, one.before.ends, one.after.ends) for one in drawn]
        made["bias"] = charts.offset_bars(rows, "ranked too low (-) or too high (+) at equal human score")
    return made


def _details(facts: Facts, snapshot: Snapshot, galleries: Sequence[Gallery]) -> dict[int, dict[str, Any]]:
    """Return the details of each image in a gallery; None and empty values are unknown."""
    indices = {facts.paths[index]: index for gallery in galleries for index in gallery.indices}
    names, found = short_names(facts.paths), {}
    for path, score in recorded(snapshot, facts.recipe, seed=facts.seed):
        if path in indices and isinstance(score, Score):
            index = indices[path]
            before, pixels = float(facts.value_before[index]), known_pixels(snapshot, path, seed=facts.seed)
            found[index] = {
                "index": index,
                "name": names[index],
                "score": score,
                "before": None if np.isnan(before) else before,
                "human": None if facts.human is None else float(facts.human.quality[index]),
                **_pictures(facts, path, None if pixels is None else pixels.image, score),
            }
    return dict(sorted(found.items()))


def _pictures(facts: Facts, path: str, known: str | None, score: Score) -> dict[str, Any]:
    """Return the pictures of an image; `known` is the digest of its pixels when it was scored, if recorded."""
    found: dict[str, Any] = {"small": "", "large": "", "conditions": [], "note": ""}
    try:
        image = load_image(Path(path))
    except QdebiasError:
        return found | {"note": "The image cannot be read any more."}
    found |= {"small": _inlined(image, SMALL), "large": _inlined(image, LARGE)}
    if known not in (None, digest(image)):
        return found | {"note": "The file has changed since it was scored; this is the new one."}
    try:
        plan = facts.recipe.method.plan(image, Context(seed=facts.seed))
    except QdebiasError as error:
        return found | {"note": f"Its conditional images cannot be shown: {error}"}
    if len(plan.conditions) == len(score.good):
        same = score.same.tolist() or [None] * len(score.good)
        rows = zip(plan.conditions, score.good.tolist(), same, score.weight.tolist(), strict=True)
        for one, good, yes, weight in rows:
            shown = {"kind": words(one.kind), "picture": _inlined(one.image, SMALL)}
            found["conditions"].append(shown | {"good": good, "same": yes, "weight": weight})
    return found


def _inlined(image: RgbImage, longest: int) -> str:
    """Return an image as a data address: JPEG, its longest side at most `longest` pixels."""
    file = BytesIO()
    Image.fromarray(reduced(image, longest)).save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths without their common folder."""
    shared = commonpath([str(PurePath(path).parent) for path in paths])
    return tuple(str(PurePath(path).relative_to(shared)) for path in paths)
