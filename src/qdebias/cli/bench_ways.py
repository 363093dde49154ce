"""The published way, each step of sharing, and a plain one-question score, on one model in one process."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.families import Family, family_of
from qdebias.backends.hf.sharing import sharing_named
from qdebias.cli.bench_images import photo_like
from qdebias.cli.bench_model import Utilisation, attention_kernels, build, count, device_name, floor
from qdebias.equations import FloatArray, softmax
from qdebias.errors import BackendError
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


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """One way to answer, and what was measured of it.

    Attributes:
        name: Which.
        summary: What it does.
        backend: Answers.
        requests: Is asked.
        plain: Which way asks the same prompts one by one; None for the one question.
        flops: Operations.
        floor: The least for these requests.
        answers: The probability of every option.
        seconds: The least that it has taken.
        cpu_seconds: The same in processor time.
        memory: See `Way.peak_memory_bytes`.
        utilisation: See `Way`.
    """

    name: str
    summary: str
    backend: HfBackend
    requests: tuple[Request, ...]
    plain: str | None
    flops: int = 0
    floor: int = 0
    answers: FloatArray = field(default_factory=lambda: np.empty(0))
    seconds: float = math.inf
    cpu_seconds: float = math.inf
    memory: int | None = None
    utilisation: float | None = None

    def count(self, least: int) -> None:
        """Count operations and keep the answers."""
        found: list[OptionLogits] = []
        self.flops, self.floor = count(lambda: found.append(self.backend.option_logits(self.requests))), least
        self.answers = np.concatenate([softmax(logits) for logits in chain(*found[0])])

    def time(self, device: torch.device) -> None:
        """Answer once more; what took least counts."""
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        with Utilisation(device) as utilisation:
            wall, cpu = time.perf_counter(), time.process_time()
            self.backend.option_logits(self.requests)  # the answers come back to the CPU, so nothing is left running
            seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        if seconds < self.seconds:
            self.seconds, self.utilisation = seconds, utilisation.share
        self.cpu_seconds = min(self.cpu_seconds, cpu_seconds)
        if device.type == "cuda":
            self.memory = torch.cuda.max_memory_allocated(device) - before


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
    runs = _runs(model, processor, family, device, images, size)
    progress("counting operations and comparing answers")
    for run in runs:
        run.count(floor(model, processor, family, run.requests))
    for turn in range(repeat):
        for run in runs:
            progress(f"timing {run.name}, {turn + 1} of {repeat}")
            run.time(device)
    by_name = {run.name: run for run in runs}
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
        floor_flops=by_name[AUTHORS].floor,
        ways=tuple(_way(run, by_name, images) for run in runs),
        process_memory_bytes=peak_memory(),
    )


def _runs(
    model: Model, processor: Processor, family: Family, device: torch.device, images: int, size: tuple[int, int]
) -> list[_Run]:
    queries = [photo_like(seed, *size) for seed in range(images)]

    def run(name: str, summary: str, method: str, sharing: str, plain: str | None, tokens: int | None = None) -> _Run:
        backend = HfBackend(
            model=model,
            processor=processor,
            fingerprint=Fingerprint(identity={"backend": "benchmark"}),
            sharing=sharing_named(sharing, device, tokens)(family),
        )
        plans = [presets.get(method).method.plan(query, Context()) for query in queries]
        requests = tuple(chain.from_iterable(plan.requests for plan in plans))
        return _Run(name=name, summary=summary, backend=backend, requests=requests, plain=plain)

    return [
        run(AUTHORS, "8 prompts one by one, both images encoded for each", "paper", "off", AUTHORS),
        run("images", "each image encoded once", "paper", "images", AUTHORS),
        run("beginnings", "and each pair of images run once for both questions", "paper", "all", AUTHORS, tokens=1),
        run(OURS, "and pairs of equal length run together", "paper", "all", AUTHORS),
        run(PLAIN, "the query image first, 8 prompts one by one", QUERY_FIRST, "off", PLAIN),
        run(QUERY_FIRST, "and everything shared: the query image run once", QUERY_FIRST, "all", PLAIN),
        run("vanilla", "one question about the image alone", "vanilla", "all", None),
    ]


def _way(run: _Run, runs: Mapping[str, _Run], images: int) -> Way:
    authors = runs[AUTHORS]
    return Way(
        name=run.name,
        summary=run.summary,
        seconds=run.seconds,
        cpu_seconds=run.cpu_seconds,
        images_per_second=images / run.seconds,
        speedup_over_authors=authors.seconds / run.seconds,
        cpu_speedup_over_authors=authors.cpu_seconds / run.cpu_seconds,
        flops=run.flops,
        flops_over_floor=run.flops / run.floor if run.plain else None,
        max_difference=float(np.abs(run.answers - runs[run.plain].answers).max()) if run.plain else None,
        peak_memory_bytes=run.memory,
        utilisation=run.utilisation,
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
