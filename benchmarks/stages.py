"""What one image costs, stage by stage.

    python benchmarks/stages.py [--model nano] [--sizes 512x384 1024x768] [--repeat 5]

Prints milliseconds of processor time an image under the method `paper`, the median of some repetitions in one thread:
decoding a JPEG, degrading it four times, preparing the five images for the model and running it, and writing a row of
results (in files of 500).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from qdebias import presets
from qdebias.backends.load import load_backend
from qdebias.image import load_image
from qdebias.methods.method import Context
from qdebias.runs.records import AnsweredRecord, Record, open_writer, record

ROWS = 500


def milliseconds(step: Callable[[], object], repeat: int) -> float:
    """Return the median of the processor time of a step, after one that does not count."""
    step()
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return float(np.median(times)) * 1000


def write_photo(path: Path, width: int, height: int) -> None:
    """Write a JPEG with the statistics of a photograph: noise that is stronger the coarser it is."""
    noise, image = np.random.default_rng(1), np.zeros((height, width, 3))
    for level in range(7):
        coarse = noise.normal(size=(height >> level, width >> level, 3)).clip(-3, 3) * 42 + 128
        scaled = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        image += np.asarray(scaled, dtype=float) * 2**level
    Image.fromarray((image / 127).clip(0, 255).astype(np.uint8)).save(path, quality=90)


def main() -> None:
    """Measure each stage for each size."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--sizes", nargs="+", default=["512x384", "1024x768"])
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = presets.get("paper")
    backend = recipe.fit(load_backend(arguments.model, device="cpu"))
    method, context = recipe.method, Context(seed=0)
    print("size         decode  degrade  prepare and forward    write  ms of processor time")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        for size in arguments.sizes:
            write_photo(photo, *map(int, size.split("x")))
            image = load_image(photo)
            plan = method.plan(image, context)
            score = method.combine(plan, backend.option_logits(plan.requests))
            row = record("photo.jpg", score, model=arguments.model, method="paper", seed=0, kind=AnsweredRecord)

            def write(row: Record = row) -> None:
                with open_writer(Path(folder, "rows.parquet"), AnsweredRecord) as add:
                    for _ in range(ROWS):
                        add(row)

            decode = milliseconds(lambda: load_image(photo), arguments.repeat)
            degrade = milliseconds(lambda: method.plan(image, context), arguments.repeat)  # noqa: B023
            forward = milliseconds(lambda: backend.option_logits(plan.requests), arguments.repeat)  # noqa: B023
            wrote = milliseconds(write, arguments.repeat) / ROWS
            print(f"{size:11} {decode:7.1f}  {degrade:7.1f}  {forward:19.1f}  {wrote:7.2f}", flush=True)


if __name__ == "__main__":
    main()
