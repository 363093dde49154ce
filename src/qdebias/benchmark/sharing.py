"""The published way, each step of sharing, and a plain one-question score, on one model in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from qdebias import presets
from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.families import Family, family_of
from qdebias.backends.hf import HfBackend
from qdebias.backends.hf_types import Model, Processor
from qdebias.backends.sharing import Sharing, sharing_named
from qdebias.benchmark.images import photo_like
from qdebias.benchmark.machine import device_name, process_memory
from qdebias.benchmark.products import count, floor
from qdebias.benchmark.shapes import build
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.method import Context
from qdebias.probability import FloatArray, softmax
from qdebias.prompts import Request

AUTHORS = "authors"
OURS = "ours"


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
        flops_over_floor: Their ratio to the least that an exact way needs; None for what answers less.
        max_difference: Largest difference of a probability to the authors' way; None for what answers less.
        peak_memory_bytes: Of the device, above what the weights take; None on a CPU.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All ways, and what they were measured on.

    Attributes:
        shape: Architecture of the model; its weights are random.
        parameters: How many it has.
        device: What ran it.
        dtype: In which numeric type.
        threads: Of torch, on a CPU.
        images: Number of query images.
        size: Their width and height.
        floor_flops: The least that an exact way needs for all images.
        ways: In order of sharing.
        process_memory_bytes: The most that the process has ever held.
    """

    shape: str
    parameters: int
    device: str
    dtype: str
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
    """A way before it is measured; `whole`: it answers everything that the authors' way does."""

    name: str
    summary: str
    backend: HfBackend
    requests: tuple[Request, ...]
    whole: bool = True

    def __call__(self) -> OptionLogits:
        return self.backend.option_logits(self.requests)


@dataclass(slots=True)
class _Spent:
    """The least that a run has taken."""

    seconds: float = float("inf")
    cpu_seconds: float = float("inf")
    memory: int | None = None


def measure(
    *,
    shape: str = "smolvlm-256m",
    device: torch.device,
    dtype: torch.dtype,
    images: int = 1,
    size: tuple[int, int] = (512, 384),
    repeat: int = 2,
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
        progress: Is told what is being done.
    """
    progress(f"making a model of {shape} with random weights")
    model, processor = build(shape, device, dtype)
    family = family_of(model)
    if family is None:
        raise BackendError(f"{shape}: this transformers cannot share work in such a model; upgrade it")
    runs = _runs(model, processor, family, device, [photo_like(seed, *size) for seed in range(images)])
    progress("counting operations and comparing answers")
    counted = [_counted(run) for run in runs]
    least = floor(model, processor, family, runs[0].requests)
    spent = [_Spent() for _ in runs]
    for turn in range(repeat):
        for run, one in zip(runs, spent, strict=True):
            progress(f"timing {run.name}, {turn + 1} of {repeat}")
            _time(run, one, device)
    return Report(
        shape=shape,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        images=images,
        size=size,
        floor_flops=least,
        ways=tuple(
            _way(*one, counted[0][1], spent[0], images, least) for one in zip(runs, counted, spent, strict=True)
        ),
        process_memory_bytes=process_memory(),
    )


def _runs(
    model: Model, processor: Processor, family: Family, device: torch.device, queries: Sequence[RgbImage]
) -> list[_Run]:
    whole, vanilla = (
        tuple(request for query in queries for request in recipe.plan(query, Context()).requests)
        for recipe in (presets.PAPER, presets.get("vanilla").method)
    )

    def backend(sharing: Sharing | None) -> HfBackend:
        fingerprint = Fingerprint(identity={"backend": "benchmark"})
        return HfBackend(model=model, processor=processor, fingerprint=fingerprint, sharing=sharing)

    images, together = (sharing_named(name, device)(family) for name in ("images", "all"))
    alone = sharing_named("all", device, tokens=1)(family)
    return [
        _Run(AUTHORS, "8 prompts one by one, both images encoded for each", backend(None), whole),
        _Run("images", "each image encoded once", backend(images), whole),
        _Run("beginnings", "and each pair of images run once for both questions", backend(alone), whole),
        _Run(OURS, "and pairs of equal length run together", backend(together), whole),
        _Run("vanilla", "one question about the image alone", backend(together), vanilla, whole=False),
    ]


def _counted(run: _Run) -> tuple[int, FloatArray]:
    """Return the operations of a run and the probability of every option that it gives."""
    answers: list[OptionLogits] = []
    flops = count(lambda: answers.append(run()))
    return flops, np.concatenate([softmax(logits) for logits in chain(*answers[0])])


def _time(run: _Run, spent: _Spent, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()  # the answers come back to the CPU, so nothing is left running
    spent.seconds = min(spent.seconds, time.perf_counter() - wall)
    spent.cpu_seconds = min(spent.cpu_seconds, time.process_time() - cpu)
    if device.type == "cuda":
        spent.memory = torch.cuda.max_memory_allocated(device) - before


def _way(
    run: _Run,
    counted: tuple[int, FloatArray],
    spent: _Spent,
    authors_answers: FloatArray,
    authors_spent: _Spent,
    images: int,
    least: int,
) -> Way:
    flops, answers = counted
    return Way(
        name=run.name,
        summary=run.summary,
        seconds=spent.seconds,
        cpu_seconds=spent.cpu_seconds,
        images_per_second=images / spent.seconds,
        speedup_over_authors=authors_spent.seconds / spent.seconds,
        cpu_speedup_over_authors=authors_spent.cpu_seconds / spent.cpu_seconds,
        flops=flops,
        flops_over_floor=flops / least if run.whole else None,
        max_difference=float(np.abs(answers - authors_answers).max()) if run.whole else None,
        peak_memory_bytes=spent.memory,
    )
