"""`qdebias bench`: how fast a model scores images on this machine."""

import math
import time
from json import dumps
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.table import Column, Table

from qdebias.backends.load import require
from qdebias.cli.compare import Methods, names_in
from qdebias.cli.options import sharing
from qdebias.cli.shown import show, show_text
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods import presets
from qdebias.methods.outline import cost_of
from qdebias.runs.options import Options
from qdebias.runs.scorer import Scorer
from qdebias.system.processes import peak_memory


def bench(
    options: Annotated[Options, sharing("model", "batch", "max_side")],
    methods: Methods = None,
    images: Annotated[int, typer.Option(min=1, help="How many images are scored each time.")] = 8,
    size: Annotated[str, typer.Option(help="Their width and height.")] = "512x384",
    repeat: Annotated[int, typer.Option(min=1, help="How often each method is timed; the least time counts.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch on a CPU.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure how fast a model scores images on this machine: degrading, the model and combining, but not decoding.

    - `qdebias bench` measures the embedded model
    - `qdebias bench --model qwen2-vl-2b --methods paper --batch 16 --threads 8`
    - `qdebias bench --json > bench.json` is for other programs
    """
    width, height = size_of(size)
    if threads is not None:
        require("torch", extra="torch")
        import torch

        torch.set_num_threads(threads)
    recipes = [presets.get(name) for name in names_in(methods or []) or ("paper", "vanilla")]
    photos = [photo_like(seed, width, height) for seed in range(images)]
    backend, limit = options.backend(), options.max_side
    scorers = [Scorer(backend=backend, method=recipe, batch=options.batch, max_side=limit) for recipe in recipes]
    times = {recipe.name: [math.inf, math.inf] for recipe in recipes}
    for scorer in scorers:
        list(scorer.score_many(photos[:1]))  # compiles
    for _ in range(repeat):
        for recipe, scorer in zip(recipes, scorers, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            list(scorer.score_many(photos))
            spent = (time.perf_counter() - wall, time.process_time() - cpu)
            times[recipe.name] = [min(pair) for pair in zip(times[recipe.name], spent, strict=True)]
    figures = {
        name: {
            "images_per_second": images / wall,
            "seconds_per_image": wall / images,
            "cpu_seconds_per_image": cpu / images,
        }
        for name, (wall, cpu) in times.items()
    }
    machine, memory = dict(backend.fingerprint.environment), peak_memory()
    if json:
        asked = {"images": images, "size": [width, height], "batch": options.batch, "methods": figures}
        typer.echo(dumps({"model": options.model, **machine, **asked, "process_memory_bytes": memory}))
        return
    numbers = ("forwards", "images/s", "s/image", "CPU s/image")
    table = Table("method", *(Column(name, justify="right") for name in numbers))
    for recipe in recipes:
        cost = cost_of(recipe.method)
        cells = (f"{value:.3f}" for value in figures[recipe.name].values())
        table.add_row(recipe.name, str(cost.forwards) if cost else "?", *cells)
    show(table)
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    show_text(
        f"model {options.model}; {where}; {images} images of {width} x {height}, {options.batch} at a time; "
        f"at most {memory / 2**30:.1f} GiB"
    )


def size_of(text: str) -> tuple[int, int]:
    """Return width and height of a text such as "512x384"."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 32 and int(height) >= 32):
        raise SettingError(f"size {text!r} is not of the form 512x384, with at least 32 a side")
    return int(width), int(height)


def photo_like(seed: int, width: int, height: int) -> RgbImage:
    """Return smooth colours with detail: neither flat nor pure noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255), dtype=np.uint8)
