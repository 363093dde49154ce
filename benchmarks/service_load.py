"""What the service does under many clients: answers by status, waiting times, memory, and places that come back.

    python benchmarks/service_load.py [--clients 200] [--seconds 60] [--model fake] [--batch 8] [--route score]

Starts `qdebias serve` on the loopback interface, lets each client post one of a few images as soon as its last answer
is there (after a 429, as soon as Retry-After says), holds every accepted score beside the library's own, then lets
clients leave in the midst of their requests, and looks whether all places are free again. Then come wrong bodies,
clients that leave while 50-megapixel JPEGs are decoded (`--cancels`), and 30 neighbours, a process of their own, that
ask for correlations all the time. With `--route reward` each client posts one to four images, one of which may be none,
and no storm follows. Throughout, a probe in the server notes how late its event loop is after 20 ms of sleep, and the
most processor time that one call of the loop took: what that call holds others up by, however busy the machine is.
/healthz is asked by a process of its own, which waits for no client.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

from qdebias.backends.load import load_backend
from qdebias.runs.scorer import Scorer

PROBED = """
import asyncio, os, time
import uvicorn
from qdebias.cli import main

longest = 0.0
run = asyncio.Handle._run

def timed(handle):
    global longest
    start = time.thread_time()
    run(handle)
    longest = max(longest, time.thread_time() - start)

asyncio.Handle._run = timed

async def probe():
    global longest
    with open(os.environ["PROBE"], "w", buffering=1) as notes:
        while True:
            wall, longest = time.monotonic(), 0.0
            await asyncio.sleep(0.02)
            late = time.monotonic() - wall - 0.02
            if max(late, longest) > 0.002:
                print(wall, late, longest, file=notes)

startup = uvicorn.Server.startup

async def probed(self, sockets=None):
    await startup(self, sockets=sockets)
    self.probe = asyncio.create_task(probe())

uvicorn.Server.startup = probed
main()
"""
SIDE = 64
TURNS = 10
IMAGES = 16


@dataclass
class Found:
    """What the clients met."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)


Sent = list[tuple[bytes, float | None]]
"""Images as PNG with the library's own scores; None of what is no image."""


async def client(url: str, images: Sent, end: float, found: Found) -> None:
    """Post images until the time is over; several and for rewards where some of them are none."""
    rewards = any(score is None for _, score in images)
    route, field = ("/v1/reward", "images") if rewards else ("/v1/score", "image")
    async with httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        while time.monotonic() < end:
            sent = random.choices(images, k=random.randint(1, 4) if rewards else 1)  # noqa: S311
            start = time.monotonic()
            try:
                answer = await http.post(route, files=[(field, data) for data, _ in sent])
            except httpx2.TransportError as error:
                found.statuses[type(error).__name__] += 1
                continue
            found.statuses[str(answer.status_code)] += 1
            if answer.status_code == 200:
                got = answer.json()
                scores = got["rewards"] if rewards else [got["score"]]
                found.seconds.append(time.monotonic() - start)
                found.apart += [difference(*pair) for pair in zip(scores, [score for _, score in sent], strict=True)]
            elif answer.status_code == 429:
                await asyncio.sleep(min(float(answer.headers["retry-after"]), max(0, end - time.monotonic())))


def difference(got: float | None, want: float | None) -> float:
    """Return how far two scores are apart; infinity where one of them is none."""
    if got is None or want is None:
        return 0.0 if got is want else float("inf")
    return abs(got - want)


async def crowd(url: str, images: Sent, count: int, seconds: float) -> Found:
    """Let as many clients at the server."""
    found = Found()
    end = time.monotonic() + seconds
    await asyncio.gather(*(client(url, images, end, found) for _ in range(count)))
    return found


async def leave(url: str, images: Sent, count: int) -> None:
    """Let clients post and leave before they are answered."""
    found = Found()
    tasks = [asyncio.create_task(client(url, images, time.monotonic() + 60, found)) for _ in range(count)]
    await asyncio.sleep(2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def memory(pid: int) -> int:
    """Return the resident bytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def family(pid: int) -> int:
    """Return the resident bytes of a process and those that it started, the decoders."""
    return memory(pid) + sum(map(memory, children(pid)))


def places_taken(url: str) -> float:
    """Return how many images are under way, as the server counts them."""
    lines = httpx2.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return float(next(line for line in lines if line.startswith("qdebias_queue_images ")).split()[1])


def wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the server is ready."""
    while server.poll() is None:
        try:
            if httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit("the server ended")


def watch(url: str) -> None:
    """Ask for /healthz until stdin ends, and print the longest that it took, in seconds."""
    longest = 0.0
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with httpx2.Client(base_url=url, timeout=120, trust_env=False) as http:
        http.get("/healthz")
        while not ended.wait(0.01):
            start = time.monotonic()
            http.get("/healthz")
            longest = max(longest, time.monotonic() - start)
    print(longest)


def watched(url: str, work: Coroutine[None, None, None]) -> float:
    """Do some work and return the longest that /healthz took meanwhile, in seconds."""
    command = [sys.executable, "-c", "import sys, service_load as load; load.watch(sys.argv[1])", url]
    watching = subprocess.Popen(  # noqa: S603
        command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    time.sleep(3)  # until it asks
    asyncio.run(work)
    return float(watching.communicate()[0])


def bodies() -> list[tuple[str, str, bytes, int]]:
    """Return wrong bodies: route, Content-Type, bytes, and the status that answers them."""
    text, packed, form = "application/json", "application/msgpack", "multipart/form-data; boundary=x"
    part = b'--x\r\ncontent-disposition: form-data; name="images"; filename="a"\r\n\r\n\r\n'
    return [
        ("score/batch", text, b'{"images":[' + b",".join([b"1"] * 700_000) + b"]}", 400),
        ("score", text, b"{" + b",".join(b'"k%d":1' % number for number in range(300_000)) + b"}", 400),
        ("score", text, b'{"image":{"base64":"' + b"A" * 26_000_000 + b'"}}', 415),
        ("score", text, b'{"image":{"url":"' + b"\\n" * 13_000_000 + b'"}}', 400),
        ("reward", packed, b"\x81\xa6images\xdd\x00\x1e\x84\x80" + b"\xc4\x00" * 2_000_000, 400),
        ("reward", packed, b"\xdf\x00\x07\xa1\x20" + b"\xa6images\x91\xc4\x00" * 500_000, 400),
        ("score", form, part.replace(b"images", b"image") + b"\r\n" * 10_000_000 + b"--x--\r\n", 415),
        ("score/batch", form, part * 200_000, 413),
    ]


async def wrong_bodies(url: str, sent: list[tuple[str, str, bytes, int]]) -> None:
    """Send each of some bodies ten times."""
    async with httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        for _ in range(10):
            for route, kind, body, status in sent:
                answer = await http.post(f"/v1/{route}", content=body, headers={"content-type": kind})
                if answer.status_code != status:
                    raise SystemExit(f"{route} answered {answer.status_code}")


def large_jpeg() -> bytes:
    """Return a JPEG of 49 megapixels."""
    out = BytesIO()
    Image.fromarray(np.zeros((7000, 7000, 3), dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue()


async def cancels(url: str, count: int, jpeg: bytes) -> None:
    """Post an image, four times at once, and leave at random moments."""
    files = {"image": jpeg}
    turn = asyncio.Semaphore(4)

    async def one(http: httpx2.AsyncClient) -> None:
        async with turn:
            with suppress(TimeoutError, httpx2.TransportError):
                async with asyncio.timeout(random.uniform(0, 3)):  # noqa: S311
                    await http.post("/v1/score", files=files)

    async with httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        await asyncio.gather(*(one(http) for _ in range(count)))


def loop_words(notes: Path, start: float) -> str:
    """Return what the probe in the server noted since a moment."""
    lines = [tuple(map(float, line.split())) for line in notes.read_text().splitlines()]
    late, worked = (max([0.0, *(line[place] for line in lines if line[0] >= start)]) * 1000 for place in (1, 2))
    return f"event loop {late:.0f} ms late at most, {worked:.1f} ms of processor time in one call at most"


async def compare(url: str, greedy: int) -> None:
    """Ask for correlations of 20,000 numbers until the process is told to end."""
    numbers = np.random.default_rng(0).random(20_000).tolist()
    body = json.dumps({"scores": numbers, "quality": numbers[::-1]}).encode()

    async def one() -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
            while True:
                await http.post("/v1/agreement", content=body, headers={"content-type": "application/json"})

    await asyncio.gather(*(one() for _ in range(greedy)))


def neighbours(url: str, images: Sent, seconds: float, greedy: int) -> tuple[Found, Found]:
    """Let 8 clients ask for scores, alone and while others ask for correlations, by turns: return what they met.

    The others have low priority, as if on another machine. By turns, as other work on this one comes and goes.
    """
    others = "import asyncio, sys, service_load as load; asyncio.run(load.compare(sys.argv[1], int(sys.argv[2])))"
    command = ["nice", "-n", "19", sys.executable, "-c", others, url, str(greedy)]
    process = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)  # noqa: S603
    found = Found(), Found()
    try:
        time.sleep(10)  # until they ask
        for _ in range(TURNS):
            for one, told in zip(found, (signal.SIGSTOP, signal.SIGCONT), strict=True):
                process.send_signal(told)
                time.sleep(1)  # what is under way is finished
                met = asyncio.run(crowd(url, images, 8, seconds / TURNS))
                one.statuses.update(met.statuses)
                one.seconds += met.seconds
                one.apart += met.apart
        return found
    finally:
        process.kill()
        process.wait()


def storms(url: str, pid: int, images: Sent, notes: Path, chosen: argparse.Namespace) -> None:
    """Run what must cost others nothing, and print what it cost."""
    wrong, jpeg = partial(wrong_bodies, sent=bodies()), large_jpeg()
    for name, first, storm in (
        ("wrong bodies", wrong, wrong),
        (
            f"{chosen.cancels} cancels",
            partial(cancels, count=40, jpeg=jpeg),
            partial(cancels, count=chosen.cancels, jpeg=jpeg),
        ),
    ):
        asyncio.run(first(url))  # so that memory which allocators keep is there before: what is looked for grows
        settle(pid)
        start = time.monotonic()
        before, decoders, cpu = family(pid), len(children(pid)), processor_seconds(pid)
        longest = watched(url, storm(url))
        settle(pid)
        after = family(pid)
        print(
            f"{name}: {loop_words(notes, start)}, "
            f"/healthz {longest * 1000:.0f} ms at most, {processor_seconds(pid) - cpu:.1f} s of the server's "
            f"processor time, processes {decoders} before, {len(children(pid))} after, "
            f"{places_taken(url):.0f} places taken, "
            f"memory {before / 2**20:.0f} to {after / 2**20:.0f} MiB, {after / before - 1:+.1%}, "
            f"by process {[memory(one) >> 20 for one in (pid, *children(pid))]}"
        )
        report(asyncio.run(crowd(url, images, 8, 3)), 3)
    start = time.monotonic()
    found = neighbours(url, images, chosen.seconds, 30)
    for words, one in zip(("alone", "beside 30 greedy neighbours"), found, strict=True):
        print(f"{words}:")
        report(one, chosen.seconds)
    alone, beside = (float(np.percentile(one.seconds, 99)) for one in found)
    print(f"p99 beside 30 greedy neighbours: {beside / alone - 1:+.0%}; {loop_words(notes, start)}")


def children(pid: int) -> list[int]:
    """Return the processes that a process started from its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(one) for task in tasks for one in (task / "children").read_text().split()]


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def settle(pid: int) -> None:
    """Wait until a server and its decoders take next to no processor time: five minutes at most."""
    for _ in range(100):
        used = sum(map(processor_seconds, (pid, *children(pid))))
        time.sleep(3)
        if sum(map(processor_seconds, (pid, *children(pid)))) - used < 0.1:
            return


def report(found: Found, seconds: float) -> None:
    """Print what the clients met."""
    p50, p99 = np.percentile(found.seconds, [50, 99])
    print("answers by status:", dict(sorted(found.statuses.items())))
    other, most = np.count_nonzero(found.apart), max(found.apart)
    print(
        f"{len(found.apart)} accepted scores, {other} not the library's own to the last bit, at most {most:.2g} apart"
    )
    print(f"accepted: p50 {p50:.2f} s, p99 {p99:.2f} s, {len(found.apart) / seconds:.1f} images/s")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--batch", default="8")
    parser.add_argument("--cancels", type=int, default=1000)
    parser.add_argument("--route", choices=("score", "reward"), default="score")
    parser.add_argument("--storms-only", action="store_true", help="Leave out the crowd of clients.")
    chosen = parser.parse_args()
    scorer = Scorer(backend=load_backend(chosen.model))
    images: Sent = [(b"nothing", None)] if chosen.route == "reward" else []
    for seed in range(IMAGES):
        pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        out = BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        images.append((out.getvalue(), scorer.score(pixels).value))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROBED, "serve", "--port", str(port)]
    command += ["--model", chosen.model, "--batch", chosen.batch]
    notes = Path(tempfile.mkdtemp(prefix="service-load-")) / "probe.txt"
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PROBE": str(notes)})  # noqa: S603
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, server)
        asyncio.run(crowd(url, images, chosen.clients, chosen.seconds / 4))  # caches fill, threads start
        if chosen.storms_only:
            storms(url, server.pid, images, notes, chosen)
            return
        before, all_before = memory(server.pid), family(server.pid)
        found = asyncio.run(crowd(url, images, chosen.clients, chosen.seconds))
        after, all_after = memory(server.pid), family(server.pid)
        report(found, chosen.seconds)
        for words, one, other in (("server", before, after), ("with its decoders", all_before, all_after)):
            print(f"memory, {words}: {one / 2**20:.0f} MiB before, {other / 2**20:.0f} after, {other / one - 1:+.1%}")
        asyncio.run(leave(url, images, chosen.clients))
        start = time.monotonic()
        while (taken := places_taken(url)) and time.monotonic() - start < 30:
            time.sleep(0.1)
        waited = time.monotonic() - start
        print(f"{chosen.clients} clients that left: {taken:.0f} places still taken after {waited:.1f} s")
        if chosen.route == "score":
            storms(url, server.pid, images, notes, chosen)
        print("load average:", os.getloadavg())
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
