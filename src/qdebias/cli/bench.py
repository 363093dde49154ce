"""`qdebias bench`."""

import json as jsonlib
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from qdebias.backends.load import load_backend, require
from qdebias.cli.console import results, say, user_errors
from qdebias.cli.options import Device, Dtype
from qdebias.cli.shown import show
from qdebias.errors import MissingPackageError, SettingError

if TYPE_CHECKING:
    from qdebias.cli.bench_ways import Report


class What(StrEnum):
    """What is measured."""

    SHARING = "sharing"
    SCALE = "scale"
    FILES = "files"
    DEGRADE = "degrade"


def bench(
    what: Annotated[
        What,
        typer.Argument(
            help="`sharing`: the model's part, each way; `scale`: the rest, for longer and longer lists; `files`: "
            "memory, and how busy the model is, with files of mixed sizes; `degrade`: the degradations beside their "
            "plain form."
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
    device: Device = None,
    dtype: Dtype = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the speeds into this file.")] = None,
) -> None:
    """Measure how fast scoring is on this machine, beside the way the method was published.

    - `qdebias bench` compares the authors' way, each step of sharing, ours, and a plain one-question score
    - `qdebias bench --json > bench.json` is for other programs
    - `qdebias bench scale` scores 10 to 10,000 small images without a model: time per image and memory stay the same
    - `qdebias bench files --model nano` scores 2,000 files of mixed sizes, then 200 with a model that only sleeps
    - `qdebias bench degrade` times each degradation on one thread, beside its plain form
    """
    with user_errors():
        if what is What.SCALE:
            _scale(json=json)
            return
        if what is What.FILES:
            _files(model, images or 2000, device, dtype, json=json)
            return
        if what is What.DEGRADE:
            _degrade([_size(size)] if size else [(1024, 768), (4000, 3000)], repeat, json=json)
            return
        report = _sharing(shape, images or 1, _size(size or "512x384"), repeat, divide, threads, device, dtype)
        if plot:
            from qdebias.cli.bench_ways import draw
            from qdebias.report.figure import save

            save(draw(report), plot)
    if json:
        typer.echo(jsonlib.dumps(report.as_json()))
    else:
        _print(report)


def _sharing(
    shape: str,
    images: int,
    size: tuple[int, int],
    repeat: int,
    divide: int,
    threads: int | None,
    device: str | None,
    dtype: str | None,
) -> "Report":
    try:
        import torch

        from qdebias.backends.hf.devices import device_of, dtype_of
        from qdebias.cli.bench_ways import measure
    except ModuleNotFoundError as error:
        raise MissingPackageError(f'{error.name} not installed: pip install "qdebias[torch]"') from error
    if threads is not None:
        torch.set_num_threads(threads)
    target = device_of(device)
    return measure(
        shape=shape,
        device=target,
        dtype=dtype_of(dtype, target),
        images=images,
        size=size,
        repeat=repeat,
        divide=divide,
        progress=say,
    )


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 32 and int(height) >= 32):
        raise SettingError(f"size {text!r} is not of the form 512x384, with at least 32 a side")
    return int(width), int(height)


def _print(report: "Report") -> None:
    right = ("seconds", "images/s", "speed-up", "CPU time", "GFLOP", "over floor", "difference")
    columns = (Column(name, justify="right", no_wrap=True) for name in right)
    table = Table(Column("way", no_wrap=True), *columns, box=None, padding=(0, 1, 0, 0))
    for way in report.ways:
        table.add_row(
            way.name,
            f"{way.seconds:.2f}",
            f"{way.images_per_second:.3f}",
            f"{way.speedup_over_authors:.2f}x",
            f"{way.cpu_speedup_over_authors:.2f}x",
            f"{way.flops / 1e9:.0f}",
            "" if way.flops_over_floor is None else f"{way.flops_over_floor:.3f}x",
            "" if way.max_difference is None else f"{way.max_difference:.1e}",
        )
    show(table)
    for way in report.ways:
        busy = "" if way.utilisation is None else f"; GPU computing {way.utilisation:.0%} of the time"
        results.print(f"{way.name}: {way.summary}{busy}")
    layers = "" if report.divide == 1 else f", one layer of {report.divide}"
    results.print(
        f"{report.shape} shape{layers}, random weights, {report.parameters / 1e6:.0f} million parameters, "
        f"{report.dtype}, attention {' or '.join(report.attention)}; "
        f"{report.images} images of {report.size[0]} x {report.size[1]}; {report.device}, {report.threads} threads; "
        f"floor {report.floor_flops / 1e9:.0f} GFLOP; at most {report.process_memory_bytes / 2**30:.1f} GiB"
    )


def _scale(*, json: bool) -> None:
    from qdebias.cli.bench_images import measure_scale

    for line in measure_scale():
        if json:
            typer.echo(jsonlib.dumps(asdict(line)))
        else:
            typer.echo(
                f"{line.images:6} images {line.milliseconds_per_image:8.2f} ms an image "
                f"{line.process_memory_bytes / 2**20:8.0f} MiB at most"
            )


def _files(model: str | None, images: int, device: str | None, dtype: str | None, *, json: bool) -> None:
    from qdebias.cli.bench_images import measure_files

    backend = load_backend(model, device=device, dtype=dtype) if model else None
    for line in measure_files(backend, model or "none", images=images):
        if json:
            typer.echo(jsonlib.dumps(asdict(line)))
        else:
            grown = line.memory_bytes / max(line.early_memory_bytes, 1) - 1
            typer.echo(
                f"model {line.model}: {line.images} images in {line.seconds:.1f} s, model busy {line.busy:.1%} of the "
                f"time; {line.early_memory_bytes / 2**20:.0f} MiB up to image 200, {line.memory_bytes / 2**20:.0f} MiB "
                f"in the end ({grown:+.1%}), at most {line.most_memory_bytes / 2**20:.0f} MiB"
            )


def _degrade(sizes: Sequence[tuple[int, int]], repeat: int, *, json: bool) -> None:
    from qdebias.cli.bench_images import measure_degradations

    require("skimage", extra="bench")
    for width, height in sizes:
        if not json:
            titles = f"{'reference':>11}{'same draws':>20}{'own draws':>20}{'grey levels apart':>19}"
            typer.echo(f"{f'{width}x{height}':12}{titles}")
        for line in measure_degradations(width, height, repeat=repeat):
            if json:
                typer.echo(jsonlib.dumps(asdict(line)))
            else:
                typer.echo(
                    f"{line.name:12}{line.reference_ms:8.0f} ms"
                    f"{line.same_draws_ms:9.1f} ms{line.same_draws_speedup:7.1f}x"
                    f"{line.own_draws_ms:9.1f} ms{line.own_draws_speedup:7.1f}x{line.most_apart:19}"
                )
