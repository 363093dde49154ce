"""`qdebias bench`: how fast scoring is on this machine, beside the way the method was published."""

import json as jsonlib
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from qdebias.backends.base import Backend
from qdebias.backends.load import require
from qdebias.cli.console import results, say, show
from qdebias.cli.options import sharing
from qdebias.errors import SettingError
from qdebias.runs.options import Options


class What(StrEnum):
    """What is measured."""

    SHARING = "sharing"
    SCALE = "scale"
    FILES = "files"
    DEGRADE = "degrade"


def bench(
    options: Annotated[Options, sharing()],
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
    text = size or "512x384"
    if not re.fullmatch(r"\d+x\d+", text) or min(map(int, text.split("x"))) < 32:
        raise SettingError(f"size {text!r} is not of the form 512x384, with at least 32 a side")
    width, height = map(int, text.split("x"))
    if what is What.DEGRADE:
        _degrade([(width, height)] if size else [(1024, 768), (4000, 3000)], repeat, json=json)
    elif what is What.SHARING:
        settings = {"shape": shape, "images": images or 1, "size": (width, height), "repeat": repeat, "divide": divide}
        _sharing(options, threads, plot, json=json, **settings)
    else:
        _lists(what, options.backend(model) if model else None, model or "none", images or 2000, json=json)


def _lists(what: What, backend: Backend | None, model: str, images: int, *, json: bool) -> None:
    from qdebias.cli.bench_lists import measure_files, measure_scale

    for row in measure_scale() if what is What.SCALE else measure_files(backend, model, images):
        typer.echo(jsonlib.dumps(row) if json else _list_line(row))


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
        typer.echo(jsonlib.dumps(report))
    else:
        _print_ways(report)


def _degrade(sizes: list[tuple[int, int]], repeat: int, *, json: bool) -> None:
    require("skimage", extra="bench")
    from qdebias.cli.bench_degradations import measure

    for width, height in sizes:
        if not json:
            titles = f"{'reference':>11}{'same draws':>20}{'own draws':>20}{'grey levels apart':>19}"
            typer.echo(f"{f'{width}x{height}':12}{titles}")
        for row in measure(width, height, repeat):
            slow, same, own = row["reference_ms"], row["same_draws_ms"], row["own_draws_ms"]
            times = f"{same:9.1f} ms{slow / same:7.1f}x{own:9.1f} ms{slow / own:7.1f}x"
            line = f"{row['name']:12}{slow:8.0f} ms{times}{row['most_apart']:19}"
            typer.echo(jsonlib.dumps(row) if json else line)


def _list_line(row: Mapping[str, Any]) -> str:
    mebibytes = {name: value / 2**20 for name, value in row.items() if name.endswith("_bytes")}
    if "model" not in row:
        most = mebibytes["process_memory_bytes"]
        return f"{row['images']:6} images {row['milliseconds_per_image']:8.2f} ms an image {most:8.0f} MiB at most"
    early, late, most = mebibytes.values()
    return (
        f"model {row['model']}: {row['images']} images in {row['seconds']:.1f} s, model busy {row['busy']:.1%} of the "
        f"time; {early:.0f} MiB up to image 200, {late:.0f} MiB in the end ({late / max(early, 1) - 1:+.1%}), at most "
        f"{most:.0f} MiB"
    )


def _print_ways(report: Mapping[str, Any]) -> None:
    right = ("seconds", "images/s", "speed-up", "CPU time", "GFLOP", "over floor", "difference")
    columns = (Column(name, justify="right", no_wrap=True) for name in right)
    table = Table(Column("way", no_wrap=True), *columns, box=None, padding=(0, 1, 0, 0))
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
