"""Which readout of the same logits agrees best with people: the table of docs/readouts.md.

The logits are those that Q-Bench (Wu et al., ICLR 2024) stored: 15 models on six datasets, one prompt, and the words
good and poor; three of the models have further words. Nothing is asked anew; what is made of the logits differs.

    python benchmarks/readouts.py OUTPUTS            # a folder a model, in it one file a dataset
    python benchmarks/readouts.py OUTPUTS --write    # puts the table into docs/readouts.md
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from qdebias.equations import FloatArray, log_softmax
from qdebias.errors import SettingError
from qdebias.evaluation.table import Cell, Column, Number, Table, render
from qdebias.inputs.datasets import CATALOGUE
from qdebias.inputs.datasets.labels import recognise, text
from qdebias.inputs.datasets.readers import read_records
from qdebias.metrics.intervals import Resampling, Statistic, pearson, resample, spearman

DATASETS = {
    "spaq": "SPAQ",
    "koniq": "KonIQ-10k",
    "livec": "LIVE Challenge",
    "cgi": "CGIQA-6k",
    "agi": "AGIQA-3k",
    "kadid": "KADID-10k",
}
HALVES = {"cgi": (3000,)}
"""Where a dataset is divided into parts that are correlated apart and averaged: CGIQA-6k has two scales."""

GROUPED = {"kadid": "kadid10k", "agi": "agiqa3k"}
"""Datasets whose images share a reference or a prompt, and their names in the catalogue: whole groups are resampled."""

SEED, LEVEL = 0, 0.95
PAGE = Path(__file__).resolve().parent.parent / "docs" / "readouts.md"
BEGIN, END = "<!-- begin: benchmarks/readouts.py -->", "<!-- end -->"

Logits = Mapping[str, FloatArray]
"""(N,) logits of each word."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What a model answered about N images.

    Attributes:
        names: The images' names.
        mos: (N,) human scores, as the file has them.
        logits: (N,) logits of each option by the option's word: "good" is column logit_good.
        repeated: How many rows were left out because they repeat the one before.
    """

    names: tuple[str, ...]
    mos: FloatArray
    logits: dict[str, FloatArray]
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.names)


def read_outputs(path: Path, *, keep_repeated: bool = False) -> Outputs:
    """Read a file with columns img_path, gt_score and logit_... for each option.

    Args:
        path: Any of the formats that labels have; Q-Bench's are objects one after the other, without commas.
        keep_repeated: Whether to keep a row that equals the one before. Runs that were started twice leave such rows
            behind; published numbers count them.

    Raises:
        SettingError: A column is missing, or a value is no number.
    """
    records = read_records(path)
    form = recognise(records, path)
    kept = [row for last, row in zip([None, *records], records, strict=False) if keep_repeated or row != last]
    options = [column.removeprefix("logit_") for column in records[0] if column.startswith("logit_")]
    if not options:
        raise SettingError(f"{path}: has no column logit_..., only {list(records[0])}")
    try:
        mos = np.array([float(text(row, form.score)) for row in kept])
        logits = {option: np.array([float(text(row, f"logit_{option}")) for row in kept]) for option in options}
    except ValueError as error:
        raise SettingError(f"{path}: a score or logit is missing or is not a number ({error})") from error
    names = tuple(text(row, form.name) for row in kept)
    return Outputs(names=names, mos=mos, logits=logits, repeated=len(records) - len(kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is made of the logits of N images.

    Attributes:
        score: (N,) for PLCC.
        order: (N,) for SRCC: grows with the score, and does not round.
    """

    score: FloatArray
    order: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """A way to read logits.

    Attributes:
        name: As it is printed.
        read: From the logits to scores.
    """

    name: str
    read: Callable[[Logits], Reading]


def margin(logits: Logits, better: str = "good", worse: str = "poor") -> FloatArray:
    """Return the log-odds of one word against another at T = 1."""
    return logits[better] - logits[worse]


def plain(values: FloatArray) -> Reading:
    """Return scores that are ranked as they are."""
    return Reading(score=values, order=values)


def at(temperature: float, better: str = "good", worse: str = "poor") -> Callable[[Logits], Reading]:
    """Return P(better) against worse at a temperature."""

    def read(logits: Logits) -> Reading:
        pair = np.stack([logits[better], logits[worse]], axis=-1)
        return Reading(score=np.exp(log_softmax(pair, temperature))[:, 0], order=margin(logits, better, worse))

    return read


def own_temperature(logits: Logits) -> Reading:
    """Read P(good) at T = the standard deviation of the log-odds over the images: no label is needed for it."""
    return at(float(margin(logits).std()))(logits)


def expected(values: Mapping[str, float]) -> Callable[[Logits], Reading]:
    """Return the expectation over several words, sum(softmax(logits) * values)."""

    def read(logits: Logits) -> Reading:
        columns = np.stack([logits[word] for word in values], axis=-1)
        value = np.array(list(values.values()))
        above = columns - columns.max(axis=-1, keepdims=True)
        with np.errstate(divide="ignore"):
            high, low = np.log(value), np.log1p(-value)
        order = np.logaddexp.reduce(above + high, axis=-1) - np.logaddexp.reduce(above + low, axis=-1)
        return Reading(score=np.exp(log_softmax(columns)) @ value, order=order)

    return read


def mean_of(*readouts: Callable[[Logits], Reading]) -> Callable[[Logits], Reading]:
    """Return the mean of the scores of several readouts, as an ensemble of prompts takes it."""
    return lambda logits: plain(np.mean([read(logits).score for read in readouts], axis=0))


BASE = Readout(name="P(good), T = 1", read=at(1))
EVERY = (
    BASE,
    Readout(name="P(good), T = 100", read=at(100)),
    Readout(name="P(good), T = deviation of the log-odds", read=own_temperature),
    Readout(name="log-odds, good minus poor", read=lambda logits: plain(margin(logits))),
    Readout(name="logit of good alone", read=lambda logits: plain(logits["good"])),
    Readout(name="minus the logit of poor alone", read=lambda logits: plain(-logits["poor"])),
)
LEVELS = (
    BASE,
    Readout(name="P(excellent) against poor", read=at(1, "excellent")),
    Readout(name="log-odds, excellent minus poor", read=lambda logits: plain(margin(logits, "excellent"))),
    Readout(
        name="three levels 1, 1/2, 0 (good is the middle)", read=expected({"excellent": 1, "good": 0.5, "poor": 0})
    ),
    Readout(name="three levels 1, 3/4, 0", read=expected({"excellent": 1, "good": 0.75, "poor": 0})),
    Readout(name="excellent or good against poor, 1, 1, 0", read=expected({"excellent": 1, "good": 1, "poor": 0})),
    Readout(
        name="log-odds, mean of excellent and good minus poor",
        read=lambda logits: plain((logits["excellent"] + logits["good"]) / 2 - logits["poor"]),
    ),
)
SYNONYMS = (
    BASE,
    Readout(name="P(high) against low", read=at(1, "high", "low")),
    Readout(
        name="good or high against poor or low, 1, 1, 0, 0",
        read=expected({"good": 1, "high": 1, "poor": 0, "low": 0}),
    ),
    Readout(name="mean of P(good) and P(high)", read=mean_of(at(1), at(1, "high", "low"))),
    Readout(
        name="log-odds, mean of both pairs",
        read=lambda logits: plain((margin(logits) + margin(logits, "high", "low")) / 2),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Readouts of the same models.

    Attributes:
        name: Which models.
        models: Their folders; none: all there are.
        readouts: The first is what the others are compared with.
    """

    name: str
    models: tuple[str, ...] = ()
    readouts: tuple[Readout, ...]


STUDIES = (
    Study(name="all 15", readouts=EVERY),
    Study(name="Qwen-VL", models=("qwen-vl",), readouts=LEVELS),
    Study(name="InstructBLIP-T5, Otter", models=("instructblip_t5", "otter_v1"), readouts=SYNONYMS),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """SRCC and PLCC of R readouts of M models on one dataset.

    Attributes:
        whole: (2, R, M) on all images.
        drawn: (2, R, M, B) on each of B resamples, the same for all.
    """

    whole: FloatArray
    drawn: FloatArray


def measure(study: Study, folder: Path, dataset: str, *, resamples: int) -> Measured:
    """Correlate all readouts of all models of a study on one dataset, the mean over its parts."""
    models = study.models or tuple(sorted(path.name for path in folder.iterdir()))
    outputs = [read_outputs(folder / model / f"{dataset}.json.gz") for model in models]
    bounds = (0, *HALVES.get(dataset, ()), len(outputs[0]))
    parts = [_part(study, outputs, dataset, slice(*ends), resamples) for ends in pairwise(bounds)]
    return Measured(
        whole=np.mean([part.whole for part in parts], axis=0), drawn=np.mean([part.drawn for part in parts], axis=0)
    )


def _part(study: Study, outputs: Sequence[Outputs], dataset: str, part: slice, resamples: int) -> Measured:
    mos = outputs[0].mos[part]
    statistics: dict[bytes, Statistic] = {}
    keys: list[bytes] = []
    for kind, correlation in (("order", spearman), ("score", pearson)):
        for readout in study.readouts:
            for output in outputs:
                reading = readout.read({word: column[part] for word, column in output.logits.items()})
                column = getattr(reading, kind)
                keys.append(kind.encode() + column.tobytes())  # temperatures share an order, which is ranked once
                statistics.setdefault(keys[-1], correlation(column, mos))
    shape = (2, len(study.readouts), len(outputs))
    once = np.ones((1, len(mos)))
    whole = np.array([float(statistics[key](once)[0]) for key in keys]).reshape(shape)
    groups = _groups(outputs[0].names[part], dataset)
    resampling = Resampling(count=resamples, seed=SEED, level=LEVEL, groups=groups)
    blocks = resample(statistics, resampling, len(mos)) if resamples else {}
    drawn = np.array([blocks[key] for key in keys]) if resamples else np.empty((len(keys), 0))
    return Measured(whole=whole, drawn=drawn.reshape(*shape, -1 if resamples else 0))


def _groups(names: Sequence[str], dataset: str) -> list[str] | None:
    """Return the reference or prompt of each image where a dataset has such."""
    if dataset not in GROUPED:
        return None
    pattern = CATALOGUE[GROUPED[dataset]].pattern
    found = [pattern.fullmatch(name) for name in names]
    return [
        (match.groupdict().get("group") or match["reference"]) if match else name
        for match, name in zip(found, names, strict=True)
    ]


def rows(study: Study, measured: Mapping[str, Measured]) -> Iterator[tuple[Cell, ...]]:
    """Yield two rows a readout: SRCC and PLCC, the first readout's own and the others' differences to it."""
    for place, readout in enumerate(study.readouts):
        for kind, measure_name in enumerate(("SRCC", "PLCC")):
            cells = [Cell(content=text) for text in (study.name, readout.name, measure_name)]
            cells += [Cell(content=_number(measured[dataset], kind, place)) for dataset in measured]
            yield (*cells, Cell(content=_counts(measured.values(), kind, place)))


def _number(found: Measured, kind: int, place: int) -> Number:
    """Return the mean over models: of the first readout its value, of others the difference to it."""
    whole, drawn = found.whole[kind], found.drawn[kind]
    if place:
        whole, drawn = whole - whole[0], drawn - drawn[0]
    value = float(whole[place].mean())
    low, high = _ends(drawn[place].mean(axis=0))
    return Number(value=value, low=low, high=high, signed=place > 0)


def _ends(drawn: FloatArray) -> tuple[float, float] | tuple[None, None]:
    if not len(drawn):
        return None, None
    interval = Resampling(count=len(drawn), seed=SEED, level=LEVEL).interval(drawn)
    return interval.low, interval.high


def _counts(found: Iterable[Measured], kind: int, place: int) -> str | None:
    """Return for how many pairs of a model and a dataset the difference is above 0 and below 0 beyond chance."""
    if not place:
        return None
    better = worse = total = 0
    for one in found:
        for drawn in one.drawn[kind][place] - one.drawn[kind][0]:
            low, high = _ends(drawn)
            total += 1
            better += low is not None and low > 0
            worse += high is not None and high < 0
    return f"{better} / {worse} of {total}"


def table(folder: Path, *, datasets: Sequence[str] = tuple(DATASETS), resamples: int = 1000) -> Table:
    """Return the comparison of the readouts on stored outputs."""
    lines: list[tuple[Cell, ...]] = []
    for study in STUDIES:
        measured = {dataset: measure(study, folder, dataset, resamples=resamples) for dataset in datasets}
        lines += rows(study, measured)
    heads = ("Models", "Readout", "Measure", *(DATASETS[dataset] for dataset in datasets), "Better / worse")
    return Table(
        title="Readouts of the same logits",
        columns=tuple(Column(name=head) for head in heads),
        rows=tuple(lines),
        notes=(
            "The first readout of each group of models has its correlation, the mean over the models; the others the "
            "difference to it, with a paired 95 % bootstrap interval over images (KADID-10k: references, AGIQA-3k: "
            "prompts).",
            "Better / worse: for how many pairs of a model and a dataset that interval lies above or below 0.",
        ),
    )


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = render(table(arguments.outputs, resamples=arguments.resamples), "markdown")
    if not arguments.write:
        print(text, end="")
        return
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
