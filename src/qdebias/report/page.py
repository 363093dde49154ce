"""A run as one HTML page that needs nothing else: no network, no script, every picture inside."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

import qdebias
from qdebias.backends.catalogue import caution
from qdebias.errors import QdebiasError
from qdebias.image import RgbImage, digest, load_image
from qdebias.methods.describe import setting_lines
from qdebias.methods.plan import Context, Score
from qdebias.metrics import charts
from qdebias.metrics.measures import Correlation
from qdebias.report.facts import Facts, Gallery, galleries_of, short_names
from qdebias.report.figure import reduced, words
from qdebias.runs.derive import known_pixels, recorded
from qdebias.runs.run import Snapshot
from qdebias.system.output import write_file, written

SMALL, LARGE = 200, 320
"""Longest side of a picture in a gallery and in the details, in pixels."""

MOST_FAILURES = 200
MOST_CONTENTS = 20
"""More than these are counted, and not listed."""

PER_BIN, MOST_BINS = 10, 10

MEASURES = {"SRCC": "srcc", "PLCC": "plcc", "PLCC, 4-parameter logistic": "plcc_logistic", "KRCC": "krcc"}


def write_page(facts: Facts, snapshot: Snapshot, out: Path, *, count: int = 6, title: str | None = None) -> None:
    """Write the report, in place of an older one; each of the `count` images of a gallery takes some 60 kB."""
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
        caution=caution(facts.manifest.model),
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
    """Return what the report says first: a number, what it is, its interval and n, and that of the plain question."""
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
    """Return the charts that the facts allow, as SVG, by name."""
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
    """Return everything about each image that a gallery shows, None and empty where that is not known."""
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
    """Return the pictures of a detail; `known` is the digest of its pixels when it was scored, if that is known."""
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
