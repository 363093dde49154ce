"""One score, on one checkpoint with random weights: ours beside the authors' way and others.

    python benchmarks/peers.py --keep checkpoint
    python benchmarks/peers.py --keep checkpoint --genai-python genai/bin/python --genai-model converted-fp32
    python benchmarks/peers.py --method vanilla

Every way is a process of its own on one thread; they take turns, and the least of the turns counts. Processor time and
wall time go from images to answers; the peak is the process's, loading included. The difference is the largest of a
probability to the first way.

OpenVINO GenAI shares nothing between questions: it is asked each of them with its images, for one token of text, so
that it has no probability to compare. It needs an environment with openvino-genai, numpy and Pillow, and the
checkpoint of `--keep` converted, by optimum-intel with the transformers that it wants (5.0 for Qwen2-VL, at 2.2):

    optimum-cli export openvino -m checkpoint --task image-text-to-text --weight-format fp32 converted-fp32

It knows Qwen2-VL and LLaVA, not SmolVLM. llama.cpp is not among the ways: it answers through a server, see
docs/servers.md, which nothing here starts.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

QDEBIAS = {
    "authors, float32": {"sharing": "off", "dtype": "float32"},
    "authors, bfloat16": {"sharing": "off", "dtype": "bfloat16"},
    "ours, float32": {"dtype": "float32"},
    "ours, bfloat16": {"dtype": "bfloat16"},
}


def qdebias(checkpoint: str, images: Path, method: str, options: dict[str, Any]) -> Callable[[], list[float]]:
    """Return what answers as this package does: the probabilities of all options."""
    import torch
    from scipy.special import softmax

    from qdebias import load_backend, presets
    from qdebias.methods.method import Context

    torch.set_num_threads(1)
    backend = load_backend(checkpoint, device="cpu", **options)
    query = np.asarray(Image.open(images / "query.png"))
    requests = presets.get(method).method.plan(query, Context()).requests
    return lambda: [float(p) for one in backend.option_logits(requests) for logits in one for p in softmax(logits)]


def genai(model: str, images: Path, prompts: list[dict[str, Any]]) -> Callable[[], list[float]]:
    """Return what asks OpenVINO GenAI one prompt after the other."""
    import openvino as ov
    import openvino_genai

    pipeline = openvino_genai.VLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=1)

    def run() -> list[float]:
        for prompt in prompts:
            pictures = [ov.Tensor(np.asarray(Image.open(images / name))[None]) for name in prompt["images"]]
            pipeline.generate(prompt["text"], images=pictures, max_new_tokens=1)
        return []

    return run


def work(way: dict[str, Any]) -> None:
    """Load, say so, and answer once for each line that comes in."""
    images = Path(way["images"])
    if "genai" in way:
        run = genai(way["genai"], images, json.loads((images / "prompts.json").read_text()))
    else:
        run = qdebias(way["checkpoint"], images, way["method"], way["options"])
    report(ready=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        answers = run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        report(wall=wall, cpu=cpu, answers=answers, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def report(**values: object) -> None:
    """Tell the parent; libraries may print lines of their own in between."""
    print("PEER " + json.dumps(values), flush=True)


class Peer:
    """The process of one way."""

    def __init__(self, python: str, way: dict[str, Any]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [python, __file__, "--work", json.dumps(way)]
        self.process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.turns: list[dict[str, Any]] = []
        self._heard()

    def turn(self) -> None:
        """Let it answer once."""
        assert self.process.stdin  # noqa: S101
        print("again", file=self.process.stdin, flush=True)
        self.turns.append(self._heard())

    def least(self, name: str) -> float:
        """Return the least of a measure."""
        return float(min(turn[name] for turn in self.turns))

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout  # noqa: S101
        for line in self.process.stdout:
            if line.startswith("PEER "):
                found: dict[str, Any] = json.loads(line.removeprefix("PEER "))
                return found
        raise SystemExit(f"a peer ended with status {self.process.wait()}")


def write(folder: Path, arguments: argparse.Namespace) -> str:
    """Write what is asked about which images, and the checkpoint unless it is there; return its folder."""
    import torch

    from qdebias import presets
    from qdebias.cli.bench import photo_like
    from qdebias.cli.bench_shapes import SHAPES, build, write_processor
    from qdebias.methods.method import Context

    query = photo_like(0, *map(int, arguments.size.split("x")))
    Image.fromarray(query).save(folder / "query.png")
    prompts = []
    for number, request in enumerate(presets.get(arguments.method).method.plan(query, Context()).requests):
        names = [f"{number}-{place}.png" for place in range(len(request.images))]
        for name, image in zip(names, request.images, strict=True):
            Image.fromarray(image).save(folder / name)
        prompts += [{"text": question.text, "images": names} for question in request.questions]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    checkpoint = Path(arguments.keep or folder / "checkpoint")
    if not (checkpoint / "config.json").is_file():
        checkpoint.mkdir(parents=True, exist_ok=True)
        model, _ = build(arguments.shape, torch.device("cpu"), torch.float32, divide=arguments.divide)
        write_processor(SHAPES[arguments.shape], checkpoint)
        model.save_pretrained(checkpoint)
    return str(checkpoint)


def main() -> None:
    """Run all ways by turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="qwen2-vl-2b", help="as of qdebias bench")
    parser.add_argument("--divide", type=int, default=14, help="keep one layer of so many")
    parser.add_argument("--method", default="paper")
    parser.add_argument("--size", default="252x252", help="width and height of the image")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--without", action="append", default=[], choices=list(QDEBIAS), help="leave a way out")
    parser.add_argument("--keep", help="folder of the checkpoint, written if it is not there")
    parser.add_argument("--genai-python", help="interpreter of an environment with openvino-genai")
    parser.add_argument("--genai-model", action="append", default=[], help="the checkpoint, converted")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(json.loads(arguments.work))
        return
    with tempfile.TemporaryDirectory(prefix="qdebias-") as images, ExitStack() as stack:
        checkpoint = write(Path(images), arguments)
        peers = {}
        for name, options in QDEBIAS.items():
            if name not in arguments.without:
                way = {"images": images, "checkpoint": checkpoint, "method": arguments.method, "options": options}
                peers[name] = stack.enter_context(Peer(sys.executable, way))
        for model in arguments.genai_model:
            way = {"images": images, "genai": model}
            peers[f"OpenVINO GenAI, {Path(model).name}"] = stack.enter_context(Peer(arguments.genai_python, way))
        if not arguments.genai_model:
            print("OpenVINO GenAI: not measured, no --genai-model")
        for turn in range(arguments.repeat):
            for name, peer in peers.items():
                peer.turn()
                print(f"{name}, turn {turn + 1}: {peer.turns[-1]['cpu']:.2f} s", file=sys.stderr, flush=True)
        show(peers, arguments)


def show(peers: dict[str, Peer], arguments: argparse.Namespace) -> None:
    """Print a table, in Markdown; ratios are to the first way."""
    first = next(iter(peers.values()))
    print("| way | processor time | speed-up | wall time | speed-up | peak | difference |")
    print("|---|---|---|---|---|---|---|")
    for name, peer in peers.items():
        cells = []
        for measure in ("cpu", "wall"):
            seconds = peer.least(measure)
            cells += [f"{seconds:.2f} s", f"{first.least(measure) / seconds:.2f}"]
        answers = peer.turns[0]["answers"]
        apart = f"{np.abs(np.subtract(answers, first.turns[0]['answers'])).max():.1e}" if answers else "-"
        print(f"| {name} | {' | '.join(cells)} | {peer.least('peak'):.0f} MiB | {apart} |")
    print(
        f"{arguments.method}, {arguments.shape}, one layer of {arguments.divide}, {arguments.size}, one thread, "
        f"least of {arguments.repeat}; "
        f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
