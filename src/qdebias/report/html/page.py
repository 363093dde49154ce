"""The page: facts, charts and pictures put into the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import qdebias
from qdebias.backends.catalogue import caution
from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.methods import presets
from qdebias.methods.describe import setting_lines
from qdebias.methods.method import Score
from qdebias.metrics.intervals import Interval
from qdebias.metrics.measures import Correlation
from qdebias.report.html import charts
from qdebias.report.html.columns import scores_of
from qdebias.report.html.facts import Facts, Human
from qdebias.report.html.galleries import Gallery, galleries_of
from qdebias.report.html.pictures import Pictures, pictures_of
from qdebias.runs.derive import known_pixels
from qdebias.runs.run import Snapshot
from qdebias.system.output import write_file

MOST_FAILURES = 200
MOST_CONTENTS = 20
"""More than these are counted, and not listed."""

PER_BIN, MOST_BINS = 10, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One image in full.

    Attributes:
        place: Which of the images of the report.
        name: As it is printed.
        value: Its score.
        options: Probability of each option where there are more than two; else empty.
        deviation: Standard deviation of the options' values; None where there is none.
        before: Score of the plain question; None where it was not asked.
        human: What people said; None where that is not known.
        pictures: The image and its conditional images.
    """

    place: int
    name: str
    value: float
    options: Mapping[str, float]
    deviation: float | None
    before: float | None
    human: float | None
    pictures: Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Charts:
    """The charts that the facts allow, as SVG; None for the others."""

    distribution: Markup
    change: Markup | None = None
    human: Markup | None = None
    calibration: Markup | None = None
    bias: Markup | None = None


def write_page(facts: Facts, snapshot: Snapshot, out: Path, *, count: int = 6, title: str | None = None) -> None:
    """Write the report.

    Args:
        facts: From `gather`.
        snapshot: The run they are from.
        out: The file, which is replaced.
        count: How many images each gallery shows; each takes some 60 kB.
        title: What stands above; by default the model and the run folder.

    Raises:
        SettingError: The file cannot be written.
    """
    galleries = galleries_of(facts, count)
    details = _details(facts, snapshot, galleries)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            caution=caution(facts.manifest.model),
            title=title or f"Image quality: {facts.folder.name}",
            version=qdebias.__version__,
            charts=_charts(facts),
            human=facts.human,
            measures=[] if facts.human is None else _measures(facts.human),
            galleries=galleries,
            details=details,
            failures=facts.failures[:MOST_FAILURES],
            asked="\n".join(setting_lines(presets.get(facts.method).method)),
            environment=_environment_of(facts),
            quantiles=np.quantile(facts.value, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist(),
        )
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, page)
    except OSError as error:
        raise SettingError(f"{out}: cannot be written ({error.strerror or error})") from error


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("qdebias.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _environment_of(facts: Facts) -> Mapping[str, Any]:
    """Return when, and with which versions, the run was last written."""
    sessions = facts.manifest.sessions
    if not sessions:
        return {}
    last = dict(sessions[-1])
    environment: Mapping[str, Any] = last.pop("environment", {})
    return {**last, **environment}


def _details(facts: Facts, snapshot: Snapshot, galleries: Sequence[Gallery]) -> dict[int, Detail]:
    """Return everything about each image that a gallery shows."""
    places = sorted({place for gallery in galleries for place in gallery.places})
    scores = scores_of(snapshot, facts.method, {facts.paths[place] for place in places}, seed=facts.seed)
    return {place: _detail(facts, snapshot, place, scores[facts.paths[place]]) for place in places}


def _detail(facts: Facts, snapshot: Snapshot, place: int, score: Score) -> Detail:
    path, before = facts.paths[place], float(facts.value_before[place])
    pixels = known_pixels(snapshot.index, snapshot.manifest, path, seed=facts.seed)
    known = None if pixels is None else pixels.image
    return Detail(
        place=place,
        name=facts.names[place],
        value=score.value,
        options=score.probabilities if len(score.probabilities) > 2 else {},
        deviation=score.deviation,
        before=None if np.isnan(before) else before,
        human=None if facts.human is None else float(facts.human.quality[place]),
        pictures=pictures_of(path, known, score, method=facts.method, seed=facts.seed),
    )


def _charts(facts: Facts) -> Charts:
    known = ~np.isnan(facts.value_before)
    columns = [facts.value, facts.value_before[known]] if facts.before else [facts.value]
    made = Charts(distribution=charts.histogram(columns, "score"))
    if facts.before:
        labels = (f"score of {facts.before}", f"score of {facts.method}")
        both = facts.value_before[known], facts.value[known]
        made = replace(made, change=charts.scatter(*both, *labels, same_scale=True))
    return made if facts.human is None else _with_human(made, facts, facts.human)


def _with_human(made: Charts, facts: Facts, human: Human) -> Charts:
    labels = (f"score of {facts.method}", f"human score, {human.title}")
    fit, curve = human.agreement.logistic, None
    if fit.converged:
        steps = np.linspace(facts.value.min(), facts.value.max(), 100)
        curve = (steps, fit(steps))
    made = replace(made, human=charts.scatter(facts.value, human.quality, *labels, curve=curve))
    bins = _bins(facts.value, human.quality)
    if len(bins) > 1:
        made = replace(made, calibration=charts.calibration(bins, f"mean {labels[0]}", f"mean {labels[1]}"))
    if human.bias is None:
        return made
    offsets, half = human.bias.offsets, MOST_CONTENTS // 2
    shown = offsets if len(offsets) <= MOST_CONTENTS else (*offsets[:half], *offsets[-half:])
    return replace(made, bias=charts.offset_bars(shown, "ranked too low (-) or too high (+) at equal human score"))


def _bins(value: FloatArray, quality: FloatArray) -> list[tuple[float, float, float]]:
    """Return mean score, mean human score and its standard error of equally large groups of images."""
    groups = np.array_split(np.argsort(value, kind="stable"), max(1, min(MOST_BINS, len(value) // PER_BIN)))
    return [
        (float(value[one].mean()), float(quality[one].mean()), float(quality[one].std(ddof=1) / len(one) ** 0.5))
        for one in groups
        if len(one) > 1
    ]


def _measures(human: Human) -> list[tuple[str, str, str]]:
    """Return a row for each measure: its name, and what it is for either method."""
    both = (human.agreement_before, human.agreement)
    rows = (("SRCC", "srcc"), ("PLCC", "plcc"), ("PLCC, 4-parameter logistic", "plcc_logistic"), ("KRCC", "krcc"))
    return [(title, _printed(both[0], name), _printed(both[1], name)) for title, name in rows]


def _printed(correlation: Correlation | None, name: str) -> str:
    """Return a measure with its 95 % interval."""
    if correlation is None:
        return ""
    value: float = getattr(correlation, name)
    interval: Interval | None = getattr(correlation, f"{name}_interval")
    if np.isnan(value):
        return "no fit"
    return f"{value:.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")
