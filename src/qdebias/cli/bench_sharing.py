"""`qdebias bench`: the published way to ask the eight questions, each step of sharing work, and a plain score.

All ways use one model in one process, with a published architecture and random weights. They take turns, and the
least time counts; it includes preparing the images but not degrading them.
"""

import math
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from qdebias.backends.base import Fingerprint
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.devices import AtOnce
from qdebias.backends.hf.families import Family, family_of
from qdebias.backends.hf.images import SharedImages
from qdebias.backends.hf.rows import Row, grow, rows_of
from qdebias.cli.bench import photo_like
from qdebias.cli.bench_shapes import build
from qdebias.equations import FloatArray, log_softmax
from qdebias.errors import BackendError
from qdebias.methods import presets
from qdebias.methods.method import Context
from qdebias.prompts import Request
from qdebias.system.processes import peak_memory


def count(run: Callable[[], object]) -> int:
    """Return the operations in the matrix products, convolutions and attention of a run, 2 for a multiply-add."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={attention: _attention}) as counter:
        run()
    return int(counter.get_total_flops())


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Count scores and weighted sums over all pairs of tokens, hidden ones too, as torch counts other kernels."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3])


def floor(model: Model, processor: Processor, family: Family, requests: Sequence[Request]) -> int:
    """Return what no exact way can do without: each image encoded once, each beginning run once.

    Encoding is counted on each image; the language model's part is computed from its shape. Attention is taken over
    whole blocks, as `count` does: a beginning with itself, the rest of each prompt with what it continues.
    """
    rows: list[Row] = []
    images = SharedImages(model, processor.image_processor, family, AtOnce(1, "images"))
    processor = copy(processor)
    processor.image_processor = images
    backend = HfBackend(model=model, processor=processor, fingerprint=Fingerprint(identity={}), family=family)

    def encode() -> None:
        for request in requests:
            prepared, keys = images.prepare(backend.prepare, request)
            rows.extend(rows_of(prepared, keys, model if family.prefix else None))
        images.encode()

    encoding = count(encode)
    return encoding + sum(_language(backend, row) for _, row in grow(rows, images.sizes, pairs=math.inf))


def _language(backend: HfBackend, row: Row) -> int:
    """Return the operations for every branch of a row, each with what it continues, and for its last logits."""
    lengths: list[int] = row.branches.bincount(minlength=len(row.parents)).tolist()
    ends = [lengths[0]]
    for branch in range(1, len(lengths)):
        ends.append(ends[row.parents[branch]] + lengths[branch])
    pairs = sum(length * end for length, end in zip(lengths, ends, strict=True))
    head: int = len(row.reads) * backend.model.get_output_embeddings().weight.numel()
    return 2 * (backend.token_cost * len(row.branches) + backend.pair_cost * pairs + head)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """One way to answer the questions about some images."""

    name: str
    summary: str
    backend: HfBackend
    requests: tuple[Request, ...]
    plain: str | None  # the way that asks the same prompts one by one; None for the one question

    def count(self) -> tuple[int, FloatArray]:
        """Return the operations, and the probabilities of all options."""
        found: list[Any] = []
        operations = count(lambda: found.append(self.backend.option_logits(self.requests)))
        return operations, np.concatenate([np.exp(log_softmax(logits)) for logits in chain(*found[0])])

    def time(self, device: torch.device) -> tuple[float, float, int | None, float | None]:
        """Return seconds, processor seconds, memory of the device beside the weights, and its utilisation in [0, 1]."""
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        with sampled(device) as samples:
            wall, cpu = time.perf_counter(), time.process_time()
            self.backend.option_logits(self.requests)  # the answers come back to the CPU, so nothing is left running
            seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        memory = torch.cuda.max_memory_allocated(device) - before if on_gpu else None
        return seconds, cpu_seconds, memory, statistics.fmean(samples) / 100 if samples else None


def ways_of(model: Model, processor: Processor, images: int, size: tuple[int, int]) -> list[Way]:
    """Return all ways to ask about so many images."""
    queries = [photo_like(seed, *size) for seed in range(images)]

    def way(name: str, summary: str, method: str, sharing: str, plain: str | None, tokens: int | None = None) -> Way:
        backend = HfBackend(
            model=model,
            processor=processor,
            fingerprint=Fingerprint(identity={"backend": "benchmark"}),
            family=family_of(model, sharing),
            tokens_at_once=tokens,
        )
        plans = [presets.get(method).method.plan(query, Context()) for query in queries]
        requests = tuple(chain.from_iterable(plan.requests for plan in plans))
        return Way(name=name, summary=summary, backend=backend, requests=requests, plain=plain)

    query_first = "query-first, plain"
    return [
        way("authors", "8 prompts one by one, both images encoded for each", "paper", "off", "authors"),
        way("images", "each image encoded once", "paper", "images", "authors"),
        way("beginnings", "and each pair of images run once for both questions", "paper", "all", "authors", tokens=1),
        way("ours", "and pairs of equal length run together", "paper", "all", "authors"),
        way(query_first, "the query image first, 8 prompts one by one", "query-first", "off", query_first),
        way("query-first", "and everything shared: the query image run once", "query-first", "all", query_first),
        way("vanilla", "one question about the image alone", "vanilla", "all", None),
    ]


def measure(
    *,
    shape: str = "smolvlm-256m",
    device: torch.device,
    dtype: torch.dtype,
    images: int = 1,
    size: tuple[int, int] = (512, 384),
    repeat: int = 2,
    divide: int = 1,
) -> dict[str, Any]:
    """Measure every way; return three figures of ours, the circumstances, and a row for each way.

    `flops_over_floor` is the ratio to the least that an exact way to ask the same needs, `max_difference` the largest
    difference of a probability to the same prompts one by one; other programs disturb processor time less.
    """
    model, processor = build(shape, device, dtype, divide=divide)
    family = family_of(model)
    if family is None:
        raise BackendError(f"{shape}: this transformers cannot share work in such a model; upgrade it")
    ways = ways_of(model, processor, images, size)
    counts = {way.name: way.count() for way in ways}
    floors = {way.name: floor(model, processor, family, way.requests) for way in ways}
    rounds = [{way.name: way.time(device) for way in ways} for _ in range(repeat)]
    rows: dict[str, dict[str, Any]] = {}
    for way in ways:
        seconds, _, memory, utilisation = min((one[way.name] for one in rounds), key=lambda timing: timing[0])
        cpu_seconds = min(one[way.name][1] for one in rounds)
        authors = rows.get("authors", {"seconds": seconds, "cpu_seconds": cpu_seconds})
        operations, answers = counts[way.name]
        rows[way.name] = {
            "name": way.name,
            "summary": way.summary,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "images_per_second": images / seconds,
            "speedup_over_authors": authors["seconds"] / seconds,
            "cpu_speedup_over_authors": authors["cpu_seconds"] / cpu_seconds,
            "flops": operations,
            "flops_over_floor": operations / floors[way.name] if way.plain else None,
            "max_difference": float(np.abs(answers - counts[way.plain][1]).max()) if way.plain else None,
            "peak_memory_bytes": memory,
            "utilisation": utilisation,
        }
    first = {name: rows["ours"][name] for name in ("speedup_over_authors", "max_difference", "flops_over_floor")}
    return first | {
        "shape": shape,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": device_name(device),
        "dtype": str(dtype).removeprefix("torch."),
        "attention": attention_kernels(device),
        "divide": divide,
        "threads": torch.get_num_threads(),
        "images": images,
        "size": size,
        "floor_flops": floors["authors"],
        "ways": list(rows.values()),
        "process_memory_bytes": peak_memory(),
    }


@contextmanager
def sampled(device: torch.device, read: Callable[[torch.device], int] = torch.cuda.utilization) -> Iterator[list[int]]:
    """Sample in a thread the percentage of time in which a GPU computes; nothing on other devices.

    `read` returns it; torch's own needs the package nvidia-ml-py.
    """
    samples: list[int] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.05):
            try:
                samples.append(read(device))
            except (ImportError, RuntimeError):  # no driver library, or it does not report this
                return

    thread = threading.Thread(target=sample, daemon=True)
    if device.type == "cuda":
        thread.start()
    try:
        yield samples
    finally:
        over.set()
        if thread.ident:
            thread.join()


def attention_kernels(device: torch.device) -> tuple[str, ...]:
    """Return which kernels torch may choose from for the attention of a model on a device."""
    if device.type != "cuda":
        return ("torch's own",)
    cuda = torch.backends.cuda
    allowed = {
        "flash": cuda.flash_sdp_enabled() and cuda.is_flash_attention_available(),
        "memory-efficient": cuda.mem_efficient_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
        "plain": cuda.math_sdp_enabled(),
    }
    return tuple(name for name, is_allowed in allowed.items() if is_allowed)


def device_name(device: torch.device) -> str:
    """Return what a device is, for a report: the processor's or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if device.type == "cpu" and cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{device.type} ({platform.machine()})"


def draw(report: Mapping[str, Any]) -> Figure:
    """Return a picture of the speed of each way, as a multiple of the authors' way."""
    ways = report["ways"]
    figure = Figure(figsize=(7, 0.6 * len(ways) + 1.4), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        [f"{way['name']}: {way['summary']}" for way in ways], [way["speedup_over_authors"] for way in ways]
    )
    axes.bar_label(bars, [f"{way['speedup_over_authors']:.2f}x, {way['seconds']:.2f} s" for way in ways], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("speed, as a multiple of the authors' way")
    axes.set_title(f"{report['shape']}, {report['device']}, {report['dtype']}", fontsize="medium")
    axes.margins(x=0.25)
    return figure
