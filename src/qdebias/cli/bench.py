"""`qdebias bench`: how fast scoring is on this machine, beside the way the method was published.

`scale`: milliseconds an image for degrading, a backend that answers at once, and combining; and the peak memory of the
process. `files`: the share of the time in which the model ran, and memory up to image 200, at the end (means over a
hundred images) and at most. The slow model sleeps half as long again for an image as one thread needs to prepare it.

`degrade`: the degradations beside the same arithmetic written plainly with SciPy and scikit-image (extra `bench`), by
the published definitions; tests compare pixels with it. Steps, precision and order of the random draws are those of
ImageNet-C (Hendrycks & Dietterich, 2019), so that equal streams give equal images. Times are medians of processor time
on one thread: of the reference, of ours with numpy's RandomState ("same draws"), which gives the reference's noise, and
of ours with the generator that scoring uses ("own draws").
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from rich.table import Column, Table

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.backends.load import require
from qdebias.cli.console import results, say, show
from qdebias.cli.options import sharing
from qdebias.degrade import Degradation, Fog, Saturate, Spatter, ZoomBlur, imagenet_c, noise_rng
from qdebias.degrade.base import Rng
from qdebias.errors import SettingError
from qdebias.image import RgbImage, digest
from qdebias.prompts import Request
from qdebias.runs.options import Options
from qdebias.runs.scorer import Scorer
from qdebias.system.processes import peak_memory, resident_memory

Array = npt.NDArray[Any]


class What(StrEnum):
    """The subject of the measurement."""

    SHARING = "sharing"
    SCALE = "scale"
    FILES = "files"
    DEGRADE = "degrade"


def bench(
    options: Annotated[Options, sharing()],
    what: Annotated[
        What,
        typer.Argument(
            help="`sharing`: the model, each way; `scale`: everything else, for longer and longer lists; `files`: "
            "memory, and utilisation of the model, with files of mixed sizes; `degrade`: the degradations beside a "
            "plain implementation."
        ),
    ] = What.SHARING,
    shape: Annotated[
        str, typer.Option(help="Architecture, with random weights: smolvlm-256m, qwen2-vl-2b, qwen2-vl-7b.")
    ] = "smolvlm-256m",
    images: Annotated[
        int | None, typer.Option(min=1, help="How many images are scored. Default: 1 each way; `files`: 2000.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Their width and height. Default: 512x384; `degrade`: 1024x768, then 4000x3000."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often each way is timed; the least time counts.")] = 2,
    divide: Annotated[int, typer.Option(min=1, help="Keep one layer of so many of the architecture.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch on a CPU.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="`files`: which one. Default: none.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the speeds into this file.")] = None,
) -> None:
    """Measure how fast scoring is on this machine, beside the way the method was published.

    - `qdebias bench` compares the authors' way, each step of sharing, ours, and the question of `vanilla`
    - `qdebias bench --json > bench.json` is for other programs
    - `qdebias bench scale` scores 10 to 10,000 small images without a model: time per image and memory stay the same
    - `qdebias bench files --model nano` scores 2,000 files of mixed sizes, then 200 with a model that only sleeps
    - `qdebias bench degrade` times each degradation on one thread, beside a plain implementation
    """
    text = size or "512x384"
    if not re.fullmatch(r"\d+x\d+", text) or min(map(int, text.split("x"))) < 32:
        raise SettingError(f"size {text!r} is not of the form 512x384, with at least 32 a side")
    width, height = map(int, text.split("x"))
    if what is What.DEGRADE:
        _degrade([(width, height)] if size else [(1024, 768), (4000, 3000)], repeat, json=json)
    elif what is What.SHARING:
        settings = {"shape": shape, "images": images or 1, "size": (width, height), "repeat": repeat, "divide": divide}
        _sharing(options, threads, plot, json=json, **settings)
    elif what is What.SCALE:
        for row in measure_scale():
            memory = row["process_memory_bytes"] / 2**20
            line = f"{row['images']:6} images {row['milliseconds_per_image']:8.2f} ms/image {memory:8.0f} MiB at most"
            typer.echo(dumps(row) if json else line)
    else:
        for row in measure_files(options.backend(model) if model else None, model or "none", images or 2000):
            early, late, most = (
                row[name] / 2**20 for name in ("early_memory_bytes", "memory_bytes", "most_memory_bytes")
            )
            line = (
                f"model {row['model']}: {row['images']} images in {row['seconds']:.1f} s, model busy {row['busy']:.1%} "
                f"of the time; {early:.0f} MiB up to image 200, {late:.0f} MiB at the end "
                f"({late / max(early, 1) - 1:+.1%}), at most {most:.0f} MiB"
            )
            typer.echo(dumps(row) if json else line)


def _sharing(options: Options, threads: int | None, plot: Path | None, *, json: bool, **settings: Any) -> None:  # noqa: ANN401
    """Measure each way; the settings are those of `qdebias.cli.bench_sharing.measure`."""
    require("torch", extra="torch")
    import torch

    from qdebias.backends.hf.devices import device_of, dtype_of
    from qdebias.cli.bench_sharing import draw, measure

    if threads is not None:
        torch.set_num_threads(threads)
    target = device_of(options.device)
    say(f"timing each way of a model of {settings['shape']} with random weights; that may take minutes")
    report = measure(device=target, dtype=dtype_of(options.dtype, target), **settings)
    if plot:
        from qdebias.report.figure import save

        save(draw(report), plot)
    if json:
        typer.echo(dumps(report))
    else:
        _print_ways(report)


def _degrade(sizes: list[tuple[int, int]], repeat: int, *, json: bool) -> None:
    require("skimage", extra="bench")
    for width, height in sizes:
        titles = ("reference ms", "same draws ms", "speed-up", "own draws ms", "speed-up", "grey levels apart")
        table = Table(f"{width}x{height}", *(Column(title, justify="right") for title in titles))
        for row in measure_degradations(width, height, repeat):
            slow, same, own = row["reference_ms"], row["same_draws_ms"], row["own_draws_ms"]
            speeds = (f"{same:.1f}", f"{slow / same:.1f}x", f"{own:.1f}", f"{slow / own:.1f}x")
            table.add_row(row["name"], f"{slow:.0f}", *speeds, str(row["most_apart"]))
            if json:
                typer.echo(dumps(row))
        if not json:
            show(table)


def _print_ways(report: Mapping[str, Any]) -> None:
    right = ("seconds", "images/s", "speed-up", "CPU time", "GFLOP", "over floor", "difference")
    table = Table(Column("way", no_wrap=True), *(Column(name, justify="right", no_wrap=True) for name in right))
    for way in report["ways"]:
        table.add_row(
            way["name"],
            f"{way['seconds']:.2f}",
            f"{way['images_per_second']:.3f}",
            f"{way['speedup_over_authors']:.2f}x",
            f"{way['cpu_speedup_over_authors']:.2f}x",
            f"{way['flops'] / 1e9:.0f}",
            "" if way["flops_over_floor"] is None else f"{way['flops_over_floor']:.3f}x",
            "" if way["max_difference"] is None else f"{way['max_difference']:.1e}",
        )
    show(table)
    for way in report["ways"]:
        busy = "" if way["utilisation"] is None else f"; GPU computing {way['utilisation']:.0%} of the time"
        results.print(f"{way['name']}: {way['summary']}{busy}")
    layers = "" if report["divide"] == 1 else f", one layer of {report['divide']}"
    results.print(
        f"{report['shape']} shape{layers}, random weights, {report['parameters'] / 1e6:.0f} million parameters, "
        f"{report['dtype']}, attention {' or '.join(report['attention'])}; {report['images']} images of "
        f"{report['size'][0]} x {report['size'][1]}; {report['device']}, {report['threads']} threads; floor "
        f"{report['floor_flops'] / 1e9:.0f} GFLOP; at most {report['process_memory_bytes'] / 2**30:.1f} GiB"
    )


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
        yield _measure(Timed(model), name, paths)
        scorer, start = Scorer(backend=Timed()), time.perf_counter()
        for path in files:
            scorer.explain(path)
        pause = 1.5 * (time.perf_counter() - start) / len(files)
        yield _measure(Timed(pause=pause), "slow", paths[:200])


def _measure(backend: Timed, name: str, paths: Sequence[Path]) -> dict[str, Any]:
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


def photo_like(seed: int, width: int, height: int) -> RgbImage:
    """Return smooth colours with detail: neither flat nor pure noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255), dtype=np.uint8)


def as_bytes(image: Array) -> RgbImage:
    """Return an image in [0, 1] as bytes: cut off, not rounded, as ImageNet-C does."""
    return np.asarray(np.clip(image, 0, 1) * 255).astype(np.uint8)


def zoom_blur(image: RgbImage, factors: Sequence[float], original_again: bool) -> RgbImage:
    """Return the mean of zoomed copies; `original_again` counts the image once more."""
    from scipy import ndimage

    x = (image / 255).astype(np.float32)
    height, width, _ = x.shape
    total = x.copy() if original_again else np.zeros_like(x)
    for z in factors:
        rows, columns = int(np.ceil(height / z)), int(np.ceil(width / z))
        top, left = (height - rows) // 2, (width - columns) // 2
        enlarged = ndimage.zoom(x[top : top + rows, left : left + columns], (z, z, 1), order=1)
        total += enlarged[:height, :width]
    return as_bytes(total / (len(factors) + original_again))


def water(
    image: RgbImage, rng: Rng, noise: tuple[float, float], blur: float, threshold: float, strength: float
) -> RgbImage:
    """Return the image behind drops of water; `noise` is its mean and deviation."""
    from skimage.filters import gaussian

    x = image.astype(np.float32) / 255
    liquid = gaussian(rng.normal(*noise, x.shape[:2]), blur)
    liquid[liquid < threshold] = 0
    grey = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(grey, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)[1]
    level = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    level = cv2.filter2D(level, cv2.CV_8U, np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    mask = cv2.cvtColor(grey * cv2.blur(level, (3, 3)).astype(np.float32), cv2.COLOR_GRAY2BGRA)
    mask *= strength / mask.max(axis=(0, 1))
    turquoise = np.concatenate([np.full_like(mask[..., :1], colour / 255) for colour in (175, 238, 238, 255)], axis=2)
    drops = np.clip(cv2.cvtColor(x, cv2.COLOR_BGR2BGRA) + mask * turquoise, 0, 1)
    return as_bytes(cv2.cvtColor(drops, cv2.COLOR_BGRA2BGR))


def saturate(image: RgbImage, gain: float, offset: float) -> RgbImage:
    """Return the image with another saturation."""
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(image / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] * gain + offset, 0, 1)
    return as_bytes(hsv2rgb(hsv))


def plasma(side: int, decay: float, rng: Rng) -> Array:
    """Return a (side, side) fractal by diamond-square on a torus, each step over the whole of a strided grid."""
    field = np.zeros((side, side))
    step, wobble = side, 100.0

    def mean_plus_noise(total: Array) -> Array:
        return np.asarray(total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape))

    while step >= 2:
        half = step // 2
        corners, centres = field[::step, ::step], field[half::step, half::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        centres[:] = mean_plus_noise(pairs + np.roll(pairs, -1, axis=1))
        vertical = centres + np.roll(centres, 1, axis=0)
        field[::step, half::step] = mean_plus_noise(vertical + corners + np.roll(corners, -1, axis=1))
        horizontal = centres + np.roll(centres, 1, axis=1)
        field[half::step, ::step] = mean_plus_noise(horizontal + corners + np.roll(corners, -1, axis=0))
        step, wobble = half, wobble / decay
    field -= field.min()
    return np.asarray(field / field.max())


def fog(image: RgbImage, rng: Rng, density: float, decay: float, rescale: bool) -> RgbImage:
    """Return the image in fog; `rescale` instead of clipping."""
    x = image / 255
    height, width, _ = x.shape
    brightest = x.max()
    x += density * plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]
    return as_bytes(x * brightest / (brightest + density) if rescale else x)


ZOOM = cast(ZoomBlur, imagenet_c("zoom_blur", 3))
PAIRS: Mapping[str, tuple[Degradation, Callable[[RgbImage, Rng], RgbImage]]] = {
    "zoom blur": (ZOOM, lambda image, _: zoom_blur(image, ZOOM.factors, original_again=True)),
    "spatter": (Spatter(), lambda image, rng: water(image, rng, (0.65, 0.3), 2, 0.68, strength=0.5)),
    "saturate": (Saturate(), lambda image, _: saturate(image, 2.0, 0.0)),
    "fog": (Fog(), lambda image, rng: fog(image, rng, 2.5, 1.5, rescale=True)),
}
"""Each degradation as the released code sets it, and its reference."""


def milliseconds(run: Callable[[], object], repeat: int) -> float:
    """Return the median processor time of a call."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def measure_degradations(width: int, height: int, repeat: int) -> list[dict[str, Any]]:
    """Return a row for each degradation, then one for all four; ours are timed three times as often as the reference.

    `most_apart` is the largest difference to the reference in grey levels, `share_apart` the share of values that are
    more than one apart.
    """
    image = photo_like(0, width, height)
    rows: list[dict[str, Any]] = []
    threads, key = cv2.getNumThreads(), digest(image)
    cv2.setNumThreads(1)
    try:
        for name, (ours, slow) in PAIRS.items():
            got = ours(image, np.random.RandomState(0)).astype(int)  # compiles
            apart = np.abs(got - slow(image, np.random.RandomState(0)))
            row = {
                "reference_ms": milliseconds(lambda: slow(image, np.random.RandomState(0)), repeat),  # noqa: B023
                "same_draws_ms": milliseconds(lambda: ours(image, np.random.RandomState(0)), 3 * repeat),  # noqa: B023
                "own_draws_ms": milliseconds(lambda: ours(image, noise_rng(0, key, name)), 3 * repeat),  # noqa: B023
                "most_apart": int(apart.max()),
                "share_apart": float((apart > 1).mean()),
            }
            rows.append({"name": name, "width": width, "height": height, **row})
    finally:
        cv2.setNumThreads(threads)
    together = {name: sum(row[name] for row in rows) for name in ("reference_ms", "same_draws_ms", "own_draws_ms")}
    worst = {
        "most_apart": max(row["most_apart"] for row in rows),
        "share_apart": statistics.fmean(row["share_apart"] for row in rows),
    }
    return [*rows, {"name": "all four", "width": width, "height": height, **together, **worst}]
