"""Scores through a real server: `make test-servers`. The server and its model are made by llama.py beside this file."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract import QUALITY
from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend
from qdebias.backends.openai_http.backend import load_openai
from qdebias.errors import BackendError, ImageError, OptionError
from qdebias.image import RgbImage, load_image
from qdebias.methods.method import Score
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer

BUILT = os.environ.get("QDEBIAS_SERVERS", "")
if not BUILT:
    pytest.skip("make test-servers builds the server that this needs", allow_module_level=True)

import llama  # noqa: E402  beside this file

FOLDER = Path(BUILT).resolve()
PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
HEIGHT, WIDTH = 196, 224  # multiples of 28: neither side resizes them
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Model:
    """The same weights, for both sides."""

    checkpoint: Path
    language: Path
    vision: Path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("model")
    checkpoint = llama.make_checkpoint(out / "checkpoint")
    return Model(checkpoint, *llama.convert(checkpoint, FOLDER, out))


@pytest.fixture(scope="session")
def local(model: Model) -> Backend:
    return load_backend(f"hf:{model.checkpoint}", device="cpu", dtype="float32")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(model: Model, log: Path, *extra: str) -> Iterator[str]:
    port = free_port()
    with llama.running(FOLDER, model.language, "--mmproj", model.vision, *extra, port=port, log=log):
        yield f"http://127.0.0.1:{port}/v1"


def crops(count: int) -> list[RgbImage]:
    """Cut parts of the example photographs: the middle of each, then what lies beside it."""
    images = [load_image(path) for path in sorted(PHOTOS.glob("*.jpg"))]
    found = []
    for number in range(count):
        image = images[number % len(images)]
        top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
        left = max(0, left - 37 * (number // len(images)))
        found.append(np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH]))
    return found


def scores(backend: Backend, method: str, images: list[RgbImage]) -> list[Score]:
    return [score for score in Scorer(backend=backend, method=method).score_many(images) if isinstance(score, Score)]


def say(line: str) -> None:
    print(f"\n    {line}", end="")  # noqa: T201  shown by pytest -s, for the record


@pytest.mark.parametrize("method", ["paper", "paper-literal", "vanilla"])
def test_scores_are_those_of_the_same_weights_in_process(method: str, model: Model, local: Backend, log: Path) -> None:
    images = crops(8)
    with served(model, log) as url:
        remote = scores(load_openai(url, concurrency=1), method, images)
    near = scores(local, method, images)
    good = np.array([score.good for score in near])
    apart = np.abs(good - [score.good for score in remote]).max()
    same = max((np.abs(one.same - other.same).max(initial=0) for one, other in zip(near, remote, strict=True)))
    value = max(abs(one.value - other.value) for one, other in zip(near, remote, strict=True))
    say(
        f"{method}: {len(images)} crops of {WIDTH}x{HEIGHT}: largest difference of P(good) {apart:.1e}, "
        f"of P(same) {same:.1e}, of the score {value:.1e}; P(good) from {good.min():.3f} to {good.max():.3f}"
    )
    assert max(apart, same, value) < TOLERANCE
    assert good.std(axis=0).min() > 20 * TOLERANCE, "the images must differ for the comparison to mean anything"


def test_many_requests_at_a_time_are_not_swapped(model: Model, local: Backend, log: Path) -> None:
    images = crops(16)
    with served(model, log, "-np", "4", "-c", "8192") as url:
        remote = scores(load_openai(url, concurrency=32), "vanilla", images)
    apart = max(
        abs(one.value - other.value) for one, other in zip(scores(local, "vanilla", images), remote, strict=True)
    )
    say(f"4 slots, 32 requests under way: largest difference of the score {apart:.1e}")
    assert apart < 5 * TOLERANCE  # what is computed together is rounded together


def test_run_survives_a_server_that_is_killed(model: Model, local: Backend, log: Path, tmp_path: Path) -> None:
    images, files = crops(24), []
    for number, image in enumerate(images):
        files.append(tmp_path / f"{number:02}.png")
        Image.fromarray(image).save(files[-1])
    port, run = free_port(), tmp_path / "run"
    start = [FOLDER, model.language, "--mmproj", model.vision]
    with llama.running(*start, port=port, log=log) as server:
        scoring = start_scoring(f"http://127.0.0.1:{port}/v1", run, files)
        wait_for_answers(run, 48, scoring)
        time.sleep(0.05)  # into the next batch
        server.kill()
    before = len(lines(run / "answers.jsonl"))
    time.sleep(2)
    with llama.running(*start, port=port, log=log):
        output, errors = scoring.communicate(timeout=300)
    assert scoring.returncode == 0, errors
    rows = [json.loads(line) for line in output.splitlines()]
    keys = [answer["key"] for answer in lines(run / "answers.jsonl")]
    done = [outcome["path"] for outcome in lines(run / "images.jsonl")]
    asked = log.read_text(errors="replace").count("release: id")
    near = scores(local, "paper", images)
    apart = max(abs(row["score"] - score.value) for row, score in zip(rows, near, strict=True))
    say(
        f"killed after {before} of {8 * len(files)} answers, away for 2 s: {len(done)} images, {len(set(done))} "
        f"different; {len(keys)} answers, {len(set(keys))} different; the server finished {asked} requests; "
        f"largest difference of the score {apart:.1e}"
    )
    assert before < 8 * len(files)
    assert sorted(done) == sorted(map(str, files))
    assert len(keys) == len(set(keys)) == 8 * len(files)
    assert asked <= len(keys) + 2 + 8, "two trials, and what was on its way when the server was killed"
    assert apart < TOLERANCE


def start_scoring(url: str, run: Path, files: list[Path]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from qdebias.cli import main; main()", "score", *map(str, files), "--json"]
    command += ["--run", str(run), "--model", f"openai:{url}", "--batch", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_answers(run: Path, count: int, scoring: "subprocess.Popen[str]") -> None:
    while len(lines(run / "answers.jsonl")) < count:
        assert scoring.poll() is None, scoring.communicate()
        time.sleep(0.01)


def lines(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_key_of_the_server_is_needed(model: Model, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(model, log, "--api-key", "secret") as url:
        monkeypatch.delenv("QDEBIAS_API_KEY", raising=False)
        with pytest.raises(BackendError, match=r"refuses the key \(401\).*there is none") as caught:
            load_openai(url)
        say(str(caught.value))
        monkeypatch.setenv("QDEBIAS_API_KEY", "secret")
        load_openai(url)


def test_images_that_are_too_large_are_told_apart(model: Model, log: Path) -> None:
    large = np.zeros((1400, 1400, 3), dtype=np.uint8)
    with served(model, log, "-c", "512") as url:
        backend = load_openai(url)
        backend.option_logits([Request(images=(crops(1)[0],), questions=(QUALITY,))])
        with pytest.raises(ImageError, match="the images are more than the server takes") as caught:
            backend.option_logits([Request(images=(large,), questions=(QUALITY,))])
    say(str(caught.value))


def test_model_that_sees_nothing_is_refused(model: Model, log: Path) -> None:
    port = free_port()
    with llama.running(FOLDER, model.language, port=port, log=log):
        backend = load_openai(f"http://127.0.0.1:{port}/v1")
        with pytest.raises(BackendError, match="image input is not supported") as caught:
            backend.option_logits([Request(images=(crops(1)[0],), questions=(QUALITY,))])
    say(str(caught.value))


def test_word_of_several_tokens_is_refused(model: Model, log: Path) -> None:
    with served(model, log) as url, pytest.raises(OptionError, match=r"'Poor' .* becomes 3 tokens") as caught:
        scores(load_openai(url), "released", crops(1))
    say(str(caught.value))
