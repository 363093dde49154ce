"""`qdebias serve`."""

from pathlib import Path
from typing import Annotated

import typer

from qdebias.backends.load import require
from qdebias.cli.console import say
from qdebias.cli.options import sharing
from qdebias.runs.options import Options

PACKAGES = "fastapi httpcore2 httptools msgspec prometheus_client python_multipart structlog uvicorn"

Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="A model, or NAME=MODEL; may be repeated, the first is the default. [nano]"),
]
KeysFile = Annotated[
    Path | None, typer.Option(help="File with one API key per line. Without it: QDEBIAS_SERVE_KEYS of the environment.")
]
AllowUrls = Annotated[bool, typer.Option("--allow-urls", help="Fetch images by URL, from public addresses.")]
Names = Annotated[list[str] | None, typer.Option("--name", help="Public host name of the server; may be repeated.")]
Queue = Annotated[int, typer.Option(min=1, help="How many images may wait or be scored; further ones get 429.")]
Proxies = Annotated[list[str] | None, typer.Option("--proxy", help="Proxy whose X-Forwarded-* headers are trusted.")]


def serve(
    model: Models = None,
    *,
    options: Annotated[Options, sharing("method", "batch", "seed", "max_megapixels")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    health_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Answer health checks here too.")] = None,
    keys_file: KeysFile = None,
    open_to_all: Annotated[bool, typer.Option("--open-to-all", help="Serve other machines without any key.")] = False,
    allow_urls: AllowUrls = False,
    name: Names = None,
    queue: Queue = 64,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds until a request times out.")] = 30.0,
    drain: Annotated[float, typer.Option(min=1, help="Seconds that requests in progress have on shutdown.")] = 30.0,
    max_images: Annotated[int, typer.Option(min=1, help="How many images one request may hold.")] = 16,
    max_megabytes: Annotated[float, typer.Option(min=0.001, help="Largest encoded image, in MiB.")] = 20.0,
    decoders: Annotated[int, typer.Option(min=1, help="How many processes decode images.")] = 2,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain, PEM.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    proxy: Proxies = None,
) -> None:
    """Serve scores over HTTP, and a page that explains them.

    Open http://127.0.0.1:8765 in a browser, or `curl -F image=@photo.jpg http://127.0.0.1:8765/v1/score`.
    """
    require(*PACKAGES.split(), extra="serve")
    from qdebias.service.guard import load_keys, set_up_logs
    from qdebias.service.limits import MEBIBYTE, Settings
    from qdebias.service.server import Listening, run
    from qdebias.service.service import Service, loader, specs_by_name

    settings = Settings(
        method=options.method, seed=options.seed, batch=options.batch, queue=queue, deadline=deadline, drain=drain,
        images=min(max_images, queue), image_bytes=round(max_megabytes * MEBIBYTE),
        pixels=options.max_pixels, decoders=decoders, urls=allow_urls,
    )  # fmt: skip
    listening = Listening(
        host=host, port=port, health_port=health_port, keys=load_keys(keys_file), open_to_all=open_to_all,
        names=name or (), certificate=certificate, private_key=private_key, proxies=proxy or (),
    )  # fmt: skip
    specs = specs_by_name(model or ["nano"])
    set_up_logs()
    say(f"serving {', '.join(specs)} at {'https' if certificate else 'http'}://{host}:{port}; Ctrl-C stops")
    run(Service(loader(specs, options, settings), settings), listening)
