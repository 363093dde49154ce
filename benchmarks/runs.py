"""Whether an image costs the same in a run of 100,000 as in one of 1,000, and how soon a run of that size goes on.

    python benchmarks/runs.py FOLDER [--images 100000]

Makes tiny images below FOLDER and scores 95 % of them into a run with the fake backend, a thousand at a time. Every
third thousand is also scored into a run of its own, the two taking turns in going first, so that both meet the same
machine. Then goes on with all of them in a new process, as after a crash, and prints how long it takes to the first of
the missing images, and the memory.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend
from qdebias.inputs import open_images
from qdebias.runs.run import Run, open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer

BLOCK = 1000


def make_images(folder: Path, count: int) -> None:
    """Write tiny images of noise, those that are not there yet."""
    noise = np.random.default_rng(1)
    for number in range(count):
        path = folder / f"{number // BLOCK:04}" / f"{number:07}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path, compress_level=0)


def stored(run: Run, backend: Backend) -> StoredScorer:
    """Return what scores into a run."""
    return StoredScorer(run, Scorer(backend=backend, method="vanilla", batch=64), name="vanilla")


def ask(scorer: StoredScorer, images: Sequence[Path], last: Callable[[], object] = int) -> list[float]:
    """Score images, do the last step, and return milliseconds an image: on the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    asked = sum(1 for _ in scorer.ask(images))
    last()
    return [(time.perf_counter() - clock) / asked * 1000, (time.process_time() - processor) / asked * 1000]


def ask_apart(folder: Path, images: Sequence[Path], backend: Backend) -> list[float]:
    """Score images into a run of their own; opening it is not counted, closing is, as that forces the rest to disk."""
    shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as stack:
        run = stack.enter_context(open_run(folder, backend.fingerprint, model="fake"))
        return ask(stored(run, backend), images, last=stack.close)


def grow(photos: Path, folder: Path, count: int) -> None:
    """Score images into one run, and some of them into small ones meanwhile."""
    backend = load_backend("fake")
    large, small = list[list[float]](), list[list[float]]()
    with open_run(folder / "run", backend.fingerprint, model="fake") as run:
        scorer = stored(run, backend)
        images = iter(open_images([str(photos)]))
        for number in range(count // BLOCK):
            block = list(islice(images, BLOCK))
            if number % 3 < 2:
                ask(scorer, block)
                continue
            if number % 2:
                small.append(ask_apart(folder / "small", block, backend))
            large.append(ask(scorer, block))
            if not number % 2:
                small.append(ask_apart(folder / "small", block, backend))
    for words, newest in (("all along", len(small)), ("the last third", -(-len(small) // 3))):
        one, other = np.array(large[-newest:]), np.array(small[-newest:])
        for column, clock in enumerate(("seconds", "processor time")):
            for middle in (np.median, np.mean):  # the index is written every ten seconds, which the median passes over
                here, there = middle(one[:, column]), middle(other[:, column])
                compared = f"{here:.3f} ms an image, {there:.3f} in runs of {BLOCK:,}; {here / there:.3f}"
                print(f"  {words}, {clock}, {middle.__name__} of {newest}: {compared}")
    print_peak()


def go_on(photos: Path, run: Path, began: float) -> None:
    """Score the images that are missing, telling when the first is done; the start of this process is counted in."""
    print_time(began, "imports done")
    images = open_images([str(photos)])
    print_time(began, f"{images.count():,} images counted")
    backend = load_backend("fake")
    with open_run(run, backend.fingerprint, model="fake") as opened:
        print_time(began, "run open")
        for count, _ in enumerate(stored(opened, backend).ask(images), start=1):
            if count == 1:
                print_time(began, "first of the missing images done")
    print_time(began, "all done")
    print_peak()


def print_time(began: float, words: str) -> None:
    """Print how long this process has been at it."""
    print(f"  {time.time() - began:6.1f} s, {time.process_time():6.1f} s of the processor: {words}")


def print_peak() -> None:
    """Print the peak of the memory of this process."""
    print(f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


def main() -> None:
    """Make the images, score most of them, go on with all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100_000, help="at least 4,000")
    parser.add_argument("--step", choices=("grow", "go-on"), help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    photos, run = arguments.folder / "photos", arguments.folder / "run"
    most = arguments.images * 95 // 100
    if arguments.step == "grow":
        grow(photos, arguments.folder, most)
    elif arguments.step == "go-on":
        go_on(photos, run, arguments.began)
    else:
        make_images(photos, arguments.images)
        shutil.rmtree(run, ignore_errors=True)
        for step, words in (("grow", f"{most:,} images"), ("go-on", f"going on with {arguments.images:,}")):
            print(f"{words}:", flush=True)
            command = [sys.executable, __file__, str(arguments.folder), "--images", str(arguments.images)]
            subprocess.run([*command, "--step", step, "--began", str(time.time())], check=True)  # noqa: S603 (this very file)


if __name__ == "__main__":
    main()
