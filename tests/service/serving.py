"""A real server on the loopback interface, in a thread of the test process."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.image import RgbImage
from qdebias.prompts import Request
from qdebias.service.fetch import Fetcher
from qdebias.service.limits import Settings
from qdebias.service.server import Listening, make_server
from qdebias.service.service import Service, serve_models

PATIENCE = 60.0
"""Seconds until a test gives up waiting for what happens at once on a machine that is not busy."""


class Gated:
    """Answers as the fake backend does, when it is let.

    Attributes:
        gate: Each release lets one call through.
        busy: Set as soon as a call waits at the gate.
        batches: The number of requests of each call.
    """

    fingerprint = Fingerprint(identity={})

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.busy = threading.Event()
        self.batches: list[int] = []

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        self.batches.append(len(requests))
        self.busy.set()
        self.gate.acquire()
        return FakeBackend().option_logits(requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that takes requests."""

    url: str
    service: Service

    def client(self, **settings: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, **settings)


@contextmanager
def running(
    backends: Mapping[str, Backend] | None = None,
    settings: Settings | None = None,
    *,
    fetcher: Fetcher | None = None,
    **listening: Any,
) -> Iterator[Running]:
    """Serve until the context ends; without backends, a fake one answers."""
    chosen = settings or Settings()
    service = Service(lambda: serve_models(backends or {"fake": FakeBackend()}, chosen), chosen, fetcher=fetcher)
    server = make_server(service, Listening(port=0, **listening))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        wait_until(lambda: service.failure or (server.started and service.status == "ok"))
        if service.failure is not None:
            raise service.failure
        port = server.servers[0].sockets[0].getsockname()[1]
        scheme = "https" if "certificate" in listening else "http"
        yield Running(url=f"{scheme}://127.0.0.1:{port}", service=service)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def wait_until(condition: Any) -> None:
    """Wait for what another thread or process will do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def encoded(image: RgbImage, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image as a file's bytes."""
    out = BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def noise(seed: int, height: int = 48, width: int = 64) -> RgbImage:
    """Return an image that differs from those of other seeds."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def code(answer: httpx2.Response) -> str:
    """Return the status and the code of an error."""
    found = answer.json()["error"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return f"{answer.status_code} {found['code']}"


def send(url: str, image: bytes, *, announced: int | None, key: str = "") -> socket.socket:
    """Send a request about an image and return its open connection; more bytes may be announced than are sent."""
    body = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n' + image + b"\r\n--x--\r\n"
    head = (
        "POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body) if announced is None else announced}\r\n\r\n"
    )
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(head.encode() + body)
    return connection
