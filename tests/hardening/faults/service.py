"""`qdebias serve` as a process, and clients of it."""

import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from faults.batch import SLOW, noise
from faults.processes import Command, Done, wait_until

IMAGES = [noise((48, 64), seed) for seed in range(12)]

DROPPED = None
"""Stands for an answer that did not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A server under trial."""

    process: Command
    url: str

    def score(self, image: bytes) -> float | int | None:
        """Return the score of an image, the status where there is none, `DROPPED` where the connection broke."""
        try:
            answer = httpx2.post(f"{self.url}/v1/score", files={"image": image}, timeout=60, trust_env=False)
        except httpx2.TransportError:
            return DROPPED
        return answer.json()["score"] if answer.status_code == 200 else answer.status_code

    def scores(self, images: Sequence[bytes] = IMAGES) -> list[float | int | None]:
        """Return the scores of images, one after the other."""
        return [self.score(image) for image in images]

    def metric(self, name: str) -> float:
        """Return a number of /metrics."""
        text = httpx2.get(f"{self.url}/metrics", timeout=60, trust_env=False).text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))

    def stop(self, number: signal.Signals) -> Done:
        """Send a signal and wait for the end."""
        self.process.send(number)
        return self.process.finish(60)


@contextmanager
def serving(
    root: Path,
    *options: object,
    model: str = SLOW,
    memory: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Serving]:
    """Start a server in a folder; what has not ended in the end is killed."""
    port = free_port()
    words = ("serve", "--port", port, "--model", f"model={model}", "--method", "vanilla", "--batch", 1, *options)
    process = Command(words, folder=root, memory=memory, environment=environment)
    served = Serving(process=process, url=f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: not process.running() or _ready(served.url))
        assert process.running(), process.finish()
        yield served
    finally:
        if process.running():
            process.send(signal.SIGKILL)
            process.finish()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def all_at_once(
    served: Serving, images: Sequence[bytes], pool: ThreadPoolExecutor
) -> "list[Future[float | int | None]]":
    """Ask about images at the same time, and return what will become of each."""
    return [pool.submit(served.score, image) for image in images]


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether a process lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def _ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False
