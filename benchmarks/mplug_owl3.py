"""How much faster one Q-Debias score is on mPLUG-Owl3 when work is shared, beside the bound by counted products.

    python benchmarks/mplug_owl3.py --divide 7 --repeat 3
    python benchmarks/mplug_owl3.py --divide 13 --cut fixed

The model has random weights and the true shapes of every layer, but only every `--divide`-th layer and that part of
the output layer. The plain way runs 8 prompts one by one and encodes both images of each, 16 in all, and gives logits
for every token, as the published script does. The fast way is `MplugOwl3Backend`, cutting and writing prompts
included. The bound divides the multiply-adds of both ways, counted on the meta device; that of all layers is printed
too.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from qdebias import presets
from qdebias.backends.base import Fingerprint
from qdebias.backends.mplug_owl3.backend import MplugOwl3Backend
from qdebias.backends.mplug_owl3.cutting import cut_mode
from qdebias.backends.mplug_owl3.model import Model
from qdebias.backends.mplug_owl3.plain import trace
from qdebias.backends.mplug_owl3.processor import Processor, Prompt
from qdebias.backends.mplug_owl3.release import RELEASE_240728, RELEASE_241101
from qdebias.backends.mplug_owl3.rows import batch_of, rows_of
from qdebias.backends.mplug_owl3.synthetic import empty, entries_7b, randomize, write_config
from qdebias.backends.mplug_owl3.variant import Gate
from qdebias.backends.mplug_owl3.vocabulary import Vocabulary, read_vocabulary
from qdebias.image import RgbImage, load_image
from qdebias.method import Context
from qdebias.prompts import Request

TEXT_LAYERS, VISION_LAYERS = 28, 26


@dataclass(frozen=True)
class Ways:
    """One score, both ways: functions without arguments."""

    plain: Callable[[], list[torch.Tensor]]
    fast: Callable[[], list[torch.Tensor]]


def shortened(divide: int, gate: Gate, rows: int) -> Model:
    """Return the model with one of `divide` layers, without weights; the embedding stays whole: no products there."""
    release = RELEASE_241101 if gate is Gate.NONE else RELEASE_240728
    layers = max(1, round(TEXT_LAYERS / divide))
    hyper = sorted({max(1, round(layer * layers / TEXT_LAYERS)) for layer in (7, 15, 23, 26)}) if divide == 1 else [1]
    vision = {"num_hidden_layers": max(1, round(VISION_LAYERS / divide)) + 1}
    with tempfile.TemporaryDirectory() as folder:
        entries = entries_7b(release, num_hidden_layers=layers, hyper_layers=hyper, vision_config=vision)
        write_config(Path(folder), entries)
        model = empty(Path(folder), gate)
    model.vision_model.drop_unused()
    with torch.device("meta"):
        model.language_model.lm_head = nn.Linear(model.config.hidden, rows // divide, bias=False)
    return model


def requests_of(image: RgbImage) -> tuple[Request, ...]:
    """Return the four requests of two questions of the paper's method."""
    return presets.PAPER.plan(image, Context()).requests


def ways(model: Model, processor: Processor, requests: tuple[Request, ...], chunk: int) -> Ways:
    """Return both ways through a model, from crops to logits."""
    device = model.language_model.lm_head.weight.device
    crops = {id(image): processor.crops(image) for request in requests for image in request.images}
    asked: list[tuple[list[Prompt], list[tuple[str, int]], torch.Tensor]] = []
    for request in requests:
        cut = [crops[id(image)] for image in request.images]
        grids = [crop.grid for crop in cut]
        prompts = [processor.question_prompt(question, grids, request.placement) for question in request.questions]
        keys = [(str(id(image)), place) for image in request.images for place in range(len(crops[id(image)].pixels))]
        pixels = torch.from_numpy(np.concatenate([crop.pixels for crop in cut])).to(device)
        asked.append((prompts, keys[: len(prompts[0].starts)], pixels[: len(prompts[0].starts)]))

    def plain() -> list[torch.Tensor]:
        return [trace(model, prompt, pixels).logits[-1] for prompts, _, pixels in asked for prompt in prompts]

    def fast() -> list[torch.Tensor]:
        shown = {key: crop for _, keys, pixels in asked for key, crop in zip(keys, pixels, strict=True)}
        memory = dict(zip(shown, model.remember(torch.stack(list(shown.values())), chunk), strict=True))
        rows = [row for prompts, keys, _ in asked for row in rows_of(prompts, keys)]
        batch = batch_of(rows, pad=processor.vocabulary.pad, lag=processor.release.lag)
        return list(model.last_logits(batch, [[memory[key] for key in row.crops] for row in rows]))

    return Ways(plain, fast)


def products(way: Callable[[], list[torch.Tensor]]) -> float:
    """Return the floating-point operations in matrix products, in units of 10^12."""
    with FlopCounterMode(display=False) as counter:
        way()
    return counter.get_total_flops() / 1e12


def seconds(ways_: Sequence[Callable[[], object]], repeat: int) -> list[float]:
    """Return the least processor time of each of several ways, which take turns."""
    taken: list[list[float]] = [[] for _ in ways_]
    for _ in range(repeat):
        for times, way in zip(taken, ways_, strict=True):
            start = time.process_time()
            way()
            times.append(time.process_time() - start)
    return [min(times) for times in taken]


def vocabulary_of(folder: Path | None) -> Vocabulary:
    """Return a vocabulary; the one of the tests needs a few tokens more for the same words than the true one."""
    return read_vocabulary(folder or Path(__file__).parent.parent / "tests" / "golden" / "mplug_owl3" / "240728")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--divide", type=int, default=7, help="keep one layer of so many")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--gate", choices=[gate.value for gate in Gate], default="static", help="none is 241101")
    parser.add_argument("--cut", choices=["off", "fixed", "official-240728"], default="off")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--vocabulary", type=Path, help="folder of a Qwen2 vocabulary")
    parser.add_argument(
        "--image", type=Path, default=Path(__file__).parent.parent / "tests/golden/mplug_owl3/images/landscape.png"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vocabulary, gate = vocabulary_of(arguments.vocabulary), Gate(arguments.gate)
    requests = requests_of(load_image(arguments.image))
    whole, short = (shortened(divide, gate, 151851) for divide in (1, arguments.divide))
    release = whole.variant.release
    processor = Processor(
        vocabulary=vocabulary, release=release, side=whole.config.vision.side, cut=cut_mode(arguments.cut, release)
    )
    with torch.inference_mode():
        for name, model in (("28 + 26 layers, counted", whole), ("shortened, counted", short)):
            both = ways(model, processor, requests, 16)
            counted = products(both.plain), products(both.fast)
            print(f"{name}: plain {counted[0]:.2f}, fast {counted[1]:.2f} TFLOP; bound {counted[0] / counted[1]:.2f}x")
        filled = randomize(short, seed=1)
        both = ways(filled, processor, requests, 1)
        difference = max(float((one - other).abs().max()) for one, other in zip(both.plain(), both.fast(), strict=True))
        backend = MplugOwl3Backend(
            model=filled, processor=processor, fingerprint=Fingerprint(identity={}), vision_chunk=1, crops_at_once=64
        )
        plain, fast = seconds([both.plain, lambda: backend.last_logits(requests)], arguments.repeat)
    print(f"shortened, processor time: plain {plain:.1f} s, fast {fast:.1f} s; {plain / fast:.2f}x")
    print(f"products a second: plain {counted[0] / plain:.3f}, fast {counted[1] / fast:.3f} TFLOP")
    print(f"largest difference of a logit: {difference:.1e}")


if __name__ == "__main__":
    main()
