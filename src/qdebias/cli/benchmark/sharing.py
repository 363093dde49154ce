"""The published way, each step of sharing, and a plain one-question score, on one model in one process."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.families import Family, family_of
from qdebias.backends.hf.sharing import Sharing, sharing_named
from qdebias.cli.benchmark.machine import Utilisation, attention_kernels, count, device_name, floor, photo_like
from qdebias.cli.benchmark.shapes import build
from qdebias.equations import FloatArray, softmax
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.methods import presets
from qdebias.methods.method import Context
from qdebias.prompts import Request
from qdebias.system.processes import peak_memory

AUTHORS = "authors"
OURS = "ours"
QUERY_FIRST = "query-first"
PLAIN = "query-first, plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to answer, measured.

    Attributes:
        name: Which.
        summary: What it does.
        seconds: For all images, the least of the repeats; preparing images is part of it, degrading them is not.
        cpu_seconds: Processor time of the same.
        images_per_second: Query images.
        speedup_over_authors: Ratio of seconds.
        cpu_speedup_over_authors: Ratio of processor time, which other programs on the machine disturb less.
        flops: Operations counted, all images.
        flops_over_floor: Their ratio to the least that an exact way to ask the same needs; None for the one question.
        max_difference: Largest difference of a probability to the same prompts one by one; None for the one question.
        peak_memory_bytes: Of the device, above what the weights take; None on a CPU.
        utilisation: Share of the time in which the GPU computed, in the quickest run; None on a CPU.
    """

    name: str
    summary: str
    seconds: float
    cpu_seconds: float
    images_per_second: float
    speedup_over_authors: float
    cpu_speedup_over_authors: float
    flops: int
    flops_over_floor: float | None
    max_difference: float | None
    peak_memory_bytes: int | None
    utilisation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All ways, and what they were measured on.

    Attributes:
        shape: Architecture of the model; its weights are random.
        parameters: How many it has.
        device: What ran it.
        dtype: In which numeric type.
        attention: Kernels that torch may choose from.
        divide: One layer of so many was kept.
        threads: Of torch, on a CPU.
        images: Number of query images.
        size: Their width and height.
        floor_flops: The least that an exact way of the paper's method needs for all images.
        ways: In order of sharing.
        process_memory_bytes: The most that the process has ever held.
    """

    shape: str
    parameters: int
    device: str
    dtype: str
    attention: tuple[str, ...]
    divide: int
    threads: int
    images: int
    size: tuple[int, int]
    floor_flops: int
    ways: tuple[Way, ...]
    process_memory_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return everything, with the three figures of our way in front."""
        ours = next(way for way in self.ways if way.name == OURS)
        names = ("speedup_over_authors", "max_difference", "flops_over_floor")
        return {name: getattr(ours, name) for name in names} | asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A way before it is measured; `plain`: which way asks the same prompts one by one, None for the one question."""

    name: str
    summary: str
    backend: HfBackend
    requests: tuple[Request, ...]
    plain: str | None

    def __call__(self) -> OptionLogits:
        return self.backend.option_logits(self.requests)


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Operations of a run, the least for its requests, and the probability of every option that it gives."""

    flops: int
    floor: int
    answers: FloatArray


@dataclass(slots=True)
class _Spent:
    """The least that a run has taken."""

    seconds: float = float("inf")
    cpu_seconds: float = float("inf")
    memory: int | None = None
    utilisation: float | None = None


def measure(
    *,
    shape: str = "smolvlm-256m",
    device: torch.device,
    dtype: torch.dtype,
    images: int = 1,
    size: tuple[int, int] = (512, 384),
    repeat: int = 2,
    divide: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure every way.

    Args:
        shape: See `SHAPES`.
        device: What runs it.
        dtype: In which numeric type.
        images: Number of query images.
        size: Their width and height.
        repeat: How often each way is timed; ways take turns, and the least time counts.
        divide: Keep one layer of so many, where memory or time does not suffice for all.
        progress: Is told what is being done.
    """
    progress(f"making a model of {shape} with random weights")
    model, processor = build(shape, device, dtype, divide=divide)
    family = family_of(model)
    if family is None:
        raise BackendError(f"{shape}: this transformers cannot share work in such a model; upgrade it")
    runs = _runs(model, processor, family, device, [photo_like(seed, *size) for seed in range(images)])
    progress("counting operations and comparing answers")
    counted = {run.name: _counted(run, floor(model, processor, family, run.requests)) for run in runs}
    spent = {run.name: _Spent() for run in runs}
    for turn in range(repeat):
        for run in runs:
            progress(f"timing {run.name}, {turn + 1} of {repeat}")
            _time(run, spent[run.name], device)
    return Report(
        shape=shape,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        attention=attention_kernels(device),
        divide=divide,
        threads=torch.get_num_threads(),
        images=images,
        size=size,
        floor_flops=counted[AUTHORS].floor,
        ways=tuple(_way(run, counted, spent, images) for run in runs),
        process_memory_bytes=peak_memory(),
    )


def _runs(
    model: Model, processor: Processor, family: Family, device: torch.device, queries: Sequence[RgbImage]
) -> list[_Run]:
    paper, query_first, vanilla = (
        tuple(request for query in queries for request in presets.get(name).method.plan(query, Context()).requests)
        for name in ("paper", QUERY_FIRST, "vanilla")
    )

    def backend(sharing: Sharing | None) -> HfBackend:
        fingerprint = Fingerprint(identity={"backend": "benchmark"})
        return HfBackend(model=model, processor=processor, fingerprint=fingerprint, sharing=sharing)

    images, together = (sharing_named(name, device)(family) for name in ("images", "all"))
    alone = sharing_named("all", device, tokens=1)(family)
    return [
        _Run(AUTHORS, "8 prompts one by one, both images encoded for each", backend(None), paper, AUTHORS),
        _Run("images", "each image encoded once", backend(images), paper, AUTHORS),
        _Run("beginnings", "and each pair of images run once for both questions", backend(alone), paper, AUTHORS),
        _Run(OURS, "and pairs of equal length run together", backend(together), paper, AUTHORS),
        _Run(PLAIN, "the query image first, 8 prompts one by one", backend(None), query_first, PLAIN),
        _Run(QUERY_FIRST, "and everything shared: the query image run once", backend(together), query_first, PLAIN),
        _Run("vanilla", "one question about the image alone", backend(together), vanilla, None),
    ]


def _counted(run: _Run, least: int) -> _Counted:
    answers: list[OptionLogits] = []
    flops = count(lambda: answers.append(run()))
    return _Counted(flops, least, np.concatenate([softmax(logits) for logits in chain(*answers[0])]))


def _time(run: _Run, spent: _Spent, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with Utilisation(device) as utilisation:
        wall, cpu = time.perf_counter(), time.process_time()
        run()  # the answers come back to the CPU, so nothing is left running
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    if seconds < spent.seconds:
        spent.seconds, spent.utilisation = seconds, utilisation.share
    spent.cpu_seconds = min(spent.cpu_seconds, cpu_seconds)
    if device.type == "cuda":
        spent.memory = torch.cuda.max_memory_allocated(device) - before


def _way(run: _Run, counted: Mapping[str, _Counted], spent: Mapping[str, _Spent], images: int) -> Way:
    own, time_, authors = counted[run.name], spent[run.name], spent[AUTHORS]
    plain = counted[run.plain].answers if run.plain else None
    return Way(
        name=run.name,
        summary=run.summary,
        seconds=time_.seconds,
        cpu_seconds=time_.cpu_seconds,
        images_per_second=images / time_.seconds,
        speedup_over_authors=authors.seconds / time_.seconds,
        cpu_speedup_over_authors=authors.cpu_seconds / time_.cpu_seconds,
        flops=own.flops,
        flops_over_floor=None if plain is None else own.flops / own.floor,
        max_difference=None if plain is None else float(np.abs(own.answers - plain).max()),
        peak_memory_bytes=time_.memory,
        utilisation=time_.utilisation,
    )


def draw(report: Report) -> Figure:
    """Return a picture of the speed of each way, as a multiple of the authors' way."""
    figure = Figure(figsize=(7, 0.6 * len(report.ways) + 1.4), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        [f"{way.name}: {way.summary}" for way in report.ways], [way.speedup_over_authors for way in report.ways]
    )
    axes.bar_label(bars, [f"{way.speedup_over_authors:.2f}x, {way.seconds:.2f} s" for way in report.ways], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("speed, as a multiple of the authors' way")
    axes.set_title(f"{report.shape}, {report.device}, {report.dtype}", fontsize="medium")
    axes.margins(x=0.25)
    return figure
