"""`qdebias doctor`, `bench` and `verify`: what works on this machine, how fast, and whether weights fit our code."""

import importlib
import math
import platform
import re
import time
from collections.abc import Callable
from importlib import metadata, util
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Column, Table
from rich.text import Text

import qdebias
from qdebias.backends.base import Backend
from qdebias.backends.load import check_torchvision, load_backend, require
from qdebias.cli.compare import Methods, names_in
from qdebias.cli.console import one_line, results, say, show, show_text
from qdebias.cli.options import Paths, sharing
from qdebias.cli.outputs import refuse_inputs
from qdebias.errors import MissingPackageError, QdebiasError, SettingError
from qdebias.image import RgbImage, load_image
from qdebias.inputs import find_inputs
from qdebias.methods import presets
from qdebias.methods.outline import cost_of
from qdebias.runs.options import Options
from qdebias.runs.scorer import Scorer
from qdebias.system.output import written
from qdebias.system.processes import peak_memory

PACKAGES = ("numpy", "opencv-python-headless", "numba", "pillow", "torch", "transformers", "tokenizers", "safetensors")

ORDER = (
    "Llama 3.2 Vision (Mllama) hardly knows which of two images is the first, as any model whose images enter by cross "
    "attention without positions; each such model is probed when it is loaded; take another for paper and rank"
)


def doctor() -> None:
    """Report what works on this machine: Python, packages, device, and whether the embedded model answers.

    Exit code 1 if the embedded model cannot be used.
    """
    results.print(f"qdebias {qdebias.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        try:
            _say(True, f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            _say(False, f"{name} is not installed")
    _check("device", _device)
    _check("torchvision", _torchvision)
    _say(True, f"order of images: {ORDER}")
    works = _check("embedded model", _embedded)
    raise typer.Exit(0 if works else 1)


def _check(title: str, test: Callable[[], str]) -> bool:
    try:
        _say(True, f"{title}: {test()}")
    except Exception as error:  # noqa: BLE001  whatever is broken here, it has to be told, and the rest as well
        what = one_line(str(error))
        if not isinstance(error, QdebiasError | ImportError | RuntimeError):
            what = f"{type(error).__name__}: {what}; packages above may not fit together, `pip check` says which"
        _say(False, f"{title}: {what}")
        return False
    return True


def _say(good: bool, message: str) -> None:
    results.print(Text("ok  " if good else "--  ", style="green" if good else "yellow") + Text(message))


def _device() -> str:
    if util.find_spec("torch") is None:
        raise MissingPackageError("not known without torch")
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"{count} CUDA device{'s' if count > 1 else ''}, {torch.cuda.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    from qdebias.backends.hf.devices import has_bfloat16_units

    kind = (
        "it has units for bfloat16, which checkpoints in bfloat16 run in (2.7 times as fast as float32 "
        "in our measurement, probabilities up to .012 apart)"
        if has_bfloat16_units()
        else "it has no units for bfloat16, so models run in float32 (bfloat16 would be several times slower)"
    )
    return f"no GPU, the CPU is used with {torch.get_num_threads()} threads; {kind}; large models will be slow"


def _torchvision() -> str:
    if util.find_spec("torchvision") is None:
        return "not installed; not needed, images are prepared with Pillow"
    check_torchvision()
    return f"{metadata.version('torchvision')} works"


def _embedded() -> str:
    gradient = np.linspace(0, 255, 96 * 96 * 3).reshape(96, 96, 3).astype(np.uint8)
    value = Scorer(backend=load_backend("nano")).score(gradient).value
    return f"nano answers (a plain gradient scores {value:.3f})"


def verify(
    model: Annotated[str, typer.Argument(help="A checkpoint of mPLUG-Owl3 or mPLUG-Owl2: its folder or hub id.")],
    paths: Paths,
    options: Annotated[Options, sharing()],
    out: Annotated[Path, typer.Option(help="The report to write, as JSON.")] = Path("verify.json"),
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
) -> None:
    """Check published weights of mPLUG-Owl3 or mPLUG-Owl2 against our code, and write a small report.

    It says which keys are missing or surplus (of mPLUG-Owl3 also release and gate), how much memory the weights take,
    how far sharing moves a logit, and what methods such as `paper` or `q-align` score on the images.
    Exit code 1 if the weights are refused; the report says why. Keep it with the
    scores, or attach it to an issue where the project is hosted.
    """
    require("torch", "transformers", extra="torch")
    from qdebias.backends.verify import verify as verify_checkpoint
    from qdebias.backends.verify import write_report

    def score(backend: Backend, method: str, image: RgbImage) -> dict[str, Any]:
        return {"value": Scorer(backend=backend, method=method).score(image).value}

    inputs = find_inputs(paths)
    refuse_inputs(inputs.images, out=out)
    images = {path.name: load_image(path) for path in inputs.paths}
    found = verify_checkpoint(model, images, score, device=options.device, dtype=options.dtype, revision=revision)
    with written(out):
        write_report(found, out)
    say(f"refused: {found['refused']}" if found["refused"] else "the weights fit")
    say(f"report written to {out}")
    raise typer.Exit(1 if found["refused"] else 0)


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
