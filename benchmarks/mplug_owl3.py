"""How much faster one Q-Debias score is on mPLUG-Owl3 when work is shared, beside the bound by counted products.

    python benchmarks/mplug_owl3.py --divide 7 --repeat 3
    python benchmarks/mplug_owl3.py --divide 26 --cut fixed

The weights are random: speed does not depend on them. The plain way runs every question alone and encodes both images
for each, as the published script does; the fast way is the backend as it is loaded. Both go from images to logits. The
model has one of `--divide` layers at their true shapes, as all of them take 30 GiB in float32; of the layers that are
left, one of seven reads images, as in the whole model.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from qdebias import presets
from qdebias.backends.hf.loading import load_hf
from qdebias.cli.bench_sharing import count
from qdebias.image import load_image
from qdebias.methods.method import Context

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from tiny_mplug_owl3 import HYPER_LAYERS, build, release_of  # noqa: E402

TEXT_LAYERS, VISION_LAYERS = 28, 26


def shortened(folder: Path, divide: int, gate: str) -> Path:
    """Write a checkpoint with one of `divide` layers and a small vocabulary; return its folder."""
    layers = max(1, round(TEXT_LAYERS / divide))
    published = HYPER_LAYERS[release_of(gate).name]
    hyper = published if divide == 1 else list(range(1, layers + 1, 7))
    vision = {"num_hidden_layers": max(1, round(VISION_LAYERS / divide)) + 1}
    return build(folder, gate, {"num_hidden_layers": layers, "hyper_layers": hyper, "vision_config": vision}, 1)


def seconds(ways: list[Callable[[], object]], repeat: int) -> list[float]:
    """Return the least processor time of each of several ways, which take turns."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(repeat):
        for times, way in zip(taken, ways, strict=True):
            start = time.process_time()
            way()
            times.append(time.process_time() - start)
    return [min(times) for times in taken]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--divide", type=int, default=7, help="keep one layer of so many")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--gate", choices=["static", "head", "none"], default="static", help="none is 241101")
    parser.add_argument("--cut", choices=["off", "fixed", "official-240728"], default="off")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--image", type=Path, default=TESTS / "golden/mplug_owl3/images/landscape.png")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as store:
        folder = shortened(Path(store), asked.divide, asked.gate)
        fast = load_hf(folder, device=asked.device, dtype=asked.dtype, cut=asked.cut)
    plain = fast.plain()
    requests = presets.PAPER.plan(load_image(asked.image), Context()).requests
    ways: list[Callable[[], object]] = [lambda: plain.last_logits(requests), lambda: fast.last_logits(requests)]
    counted = [count(way) / 1e12 for way in ways]
    print(f"counted: plain {counted[0]:.3f}, fast {counted[1]:.3f} TFLOP; bound {counted[0] / counted[1]:.2f}x")
    one, other = (np.concatenate([np.stack(one) for one in way.last_logits(requests)]) for way in (plain, fast))
    spent = seconds(ways, asked.repeat)
    print(f"processor time: plain {spent[0]:.1f} s, fast {spent[1]:.1f} s; {spent[0] / spent[1]:.2f}x")
    print(f"products a second: plain {counted[0] / spent[0]:.3f}, fast {counted[1] / spent[1]:.3f} TFLOP")
    print(f"largest difference of a logit: {np.abs(one - other).max():.1e}")


if __name__ == "__main__":
    main()
