"""`qdebias bench`: how fast a model scores images on this machine."""

import math
import re
import time
from json import dumps
from typing import Annotated

import numpy as np
import typer
from rich.table import Column, Table

from qdebias.backends.load import require
from qdebias.cli.compare import Methods, names_in
from qdebias.cli.options import sharing
from qdebias.cli.shown import show, show_text
from qdebias.errors import SettingError
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
    if not re.fullmatch(r"\d+x\d+", size) or min(map(int, size.split("x"))) < 32:
        raise SettingError(f"size {size!r} is not of the form 512x384, with at least 32 a side")
    width, height = map(int, size.split("x"))
    if threads is not None:
        require("torch", extra="torch")
        import torch

        torch.set_num_threads(threads)
    recipes = [presets.get(name) for name in names_in(methods or []) or ("paper", "vanilla")]
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 256, (height, width, 3), np.uint8) for _ in range(images)]
    backend, limit = options.backend(), options.max_side
    scorers = [Scorer(backend=backend, method=recipe, batch=options.batch, max_side=limit) for recipe in recipes]
    times = {recipe.name: [math.inf, math.inf] for recipe in recipes}
    for scorer in scorers:
        list(scorer.score_many(pictures[:1]))  # compiles
    for _ in range(repeat):
        for recipe, scorer in zip(recipes, scorers, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            list(scorer.score_many(pictures))
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
        cost, row = cost_of(recipe.method), figures[recipe.name].values()
        table.add_row(recipe.name, str(cost.forwards) if cost else "?", *(f"{value:.3f}" for value in row))
    show(table)
    show_text(
        f"model {options.model}; {', '.join(map(' '.join, machine.items()))}; {images} images of {width} x {height}, "
        f"{options.batch} at a time; at most {memory / 2**30:.1f} GiB"
    )
