"""How long it takes to go on with a run of many images.

    python benchmarks/runs.py FOLDER [--images 100000]

Makes tiny images below FOLDER, scores 95 % of them into a run with the fake backend, then goes on with all of them in a
new process, as a crashed run would, and prints seconds until the first new question, seconds and memory in all.
"""

import argparse
import resource
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image


def make_images(folder: Path, count: int) -> None:
    """Write tiny images of noise, those that are not there yet."""
    noise = np.random.default_rng(1)
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:07}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path, compress_level=0)


def go_on(folder: Path, run: Path, limit: int | None) -> None:
    """Score the images, printing when the first question is asked."""
    start = time.monotonic()
    from qdebias.backends.fake import FakeBackend
    from qdebias.engine import Scorer
    from qdebias.inputs import open_images
    from qdebias.store import open_run
    from qdebias.stored import StoredScorer

    images = open_images([str(folder)])
    print(f"  {time.monotonic() - start:6.1f} s  {images.count():,} images counted")
    backend, marks = FakeBackend(remember=False), [0.0]
    with open_run(run, backend.fingerprint, model="fake") as opened:
        print(f"  {time.monotonic() - start:6.1f} s  run open")
        stored = StoredScorer(opened, Scorer(backend=backend, method="vanilla", batch=64), name="vanilla")
        for count, _ in enumerate(stored.ask(islice(images, limit)), start=1):
            if count == 1:
                print(f"  {time.monotonic() - start:6.1f} s  first of the missing images done")
            if count % 1000 == 0:
                marks.append(time.monotonic() - start)
    spans = np.diff(marks[1:])
    if len(spans) > 1:
        print(f"          ms an image: {spans[0]:.3f} for the first thousand, {np.median(spans[-5:]):.3f} at the end")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {time.monotonic() - start:6.1f} s  done; {memory:.0f} MiB")


def main() -> None:
    """Make the images, score most of them, go on with all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    photos, run = arguments.folder / "photos", arguments.folder / "run"
    if arguments.limit is not None:
        go_on(photos, run, arguments.limit)
        return
    make_images(photos, arguments.images)
    for limit in (arguments.images * 95 // 100, arguments.images):
        print(f"{limit:,} images:")
        command = [sys.executable, __file__, str(arguments.folder), "--limit", str(limit)]
        subprocess.run(command, check=True)  # noqa: S603 (this very file)


if __name__ == "__main__":
    main()
