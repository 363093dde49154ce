"""`qdebias bench scale` and `files`: what surrounds a model does not grow with the list of images.

`scale`: milliseconds an image for degrading, asking a backend that answers at once, and combining; and the most that
the process has ever held. `files`: share of the time in which the model ran, and what the process held up to image
200, in the end (means over a hundred images) and at most. The model that sleeps takes half as long again for an image
as one thread needs to prepare it.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.cli.bench_degradations import photo_like
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer
from qdebias.system.processes import peak_memory, resident_memory

SIDES = (64, 2000)
"""Shortest and longest side of the files, in pixels."""


class Timed:
    """Sleeps for each image, then asks a model, or has no preference for any option; adds up for how long it ran."""

    def __init__(self, model: Backend | None = None, pause: float = 0.0) -> None:
        self.model, self.pause, self.seconds = model, pause, 0.0
        self.fingerprint = model.fingerprint if model else Fingerprint(identity={"backend": "benchmark"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Answer."""
        start = time.perf_counter()
        time.sleep(self.pause * len({id(request.images[-1]) for request in requests}))
        if self.model:
            answers = self.model.option_logits(requests)
        else:
            answers = [[np.zeros(len(question.options)) for question in request.questions] for request in requests]
        self.seconds += time.perf_counter() - start
        return answers


def measure_scale(lengths: Sequence[int] = (10, 100, 1000, 10_000), side: int = 64) -> Iterator[dict[str, Any]]:
    """Yield a row for each length of list, ascending: memory is the most so far. Sides are `side` to twice that."""
    scorer = Scorer(backend=Timed())
    for length in lengths:
        start = time.perf_counter()
        images = (photo_like(seed, side + seed % side, side + seed * 7 % side) for seed in range(length))
        for _ in scorer.score_many(images):
            pass
        spent = 1000 * (time.perf_counter() - start) / length
        yield {"images": length, "milliseconds_per_image": spent, "process_memory_bytes": peak_memory()}


def measure_files(model: Backend | None, name: str, images: int) -> Iterator[dict[str, Any]]:
    """Yield a row for a model, None being one that answers at once, then one for a slow one, which only sleeps.

    Each of 60 different files, JPEG and PNG in turn, comes several times, in random order.
    """
    with TemporaryDirectory(prefix="qdebias-") as folder:
        sizes = np.random.default_rng(0).integers(SIDES[0], SIDES[1] + 1, size=(60, 2))
        files = [Path(folder, f"{number}{'.png' if number % 2 else '.jpg'}") for number in range(len(sizes))]
        for number, (path, (width, height)) in enumerate(zip(files, sizes, strict=True)):
            Image.fromarray(photo_like(number, int(width), int(height))).save(path)
        paths = [files[place] for place in np.random.default_rng(0).integers(len(files), size=images)]
        yield measured(Timed(model), name, paths)
        scorer, start = Scorer(backend=Timed()), time.perf_counter()
        for path in files:
            scorer.explain(path)
        pause = 1.5 * (time.perf_counter() - start) / len(files)
        yield measured(Timed(pause=pause), "slow", paths[:200])


def measured(backend: Timed, name: str, paths: Sequence[Path]) -> dict[str, Any]:
    """Score files and return the row."""
    start, memory = time.perf_counter(), []
    for _ in Scorer(backend=backend).score_many(paths):
        memory.append(resident_memory())
    seconds = time.perf_counter() - start
    return {
        "model": name,
        "images": len(paths),
        "seconds": seconds,
        "busy": backend.seconds / seconds,
        "early_memory_bytes": round(statistics.fmean(memory[:200][-100:])),
        "memory_bytes": round(statistics.fmean(memory[-100:])),
        "most_memory_bytes": max(memory),
    }
