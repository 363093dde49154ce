"""The same score every time: one test for each thing that must not change it, with the embedded model and the fake one.

Ray: `test_distributed.py`. HTTP: `service/test_same_scores.py`. What is promised: `docs/determinism.md`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from contract import picture
from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend
from qdebias.image import RgbImage
from qdebias.methods.method import Score
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer

SIDES = ((72, 96), (64, 80), (72, 96), (97, 33), (72, 96))
"""Of the images: some of one size, whose rows a model may run together, between others."""

each_model = pytest.mark.parametrize("model", ["fake", "nano"])
each_method = pytest.mark.parametrize("method", ["vanilla", "paper"])


def rounded(scores: list[float]) -> Any:
    """Return what compares equal within the rounding of float32, where a model multiplies matrices of another shape."""
    return pytest.approx(scores, abs=1e-5, rel=0)


@cache
def backend(model: str) -> Backend:
    return load_backend("nano", device="cpu") if model == "nano" else load_backend(model)


@cache
def images() -> tuple[RgbImage, ...]:
    return tuple(picture(seed, *sides) for seed, sides in enumerate(SIDES))


def scores(model: str, method: str, *, given: Sequence[RgbImage] | None = None, **settings: int) -> list[float]:
    scorer = Scorer(backend=backend(model), method=method, **({"batch": 1} | settings))
    return [score.value for score in scorer.score_many(given or images()) if isinstance(score, Score)]


@cache
def alone(model: str, method: str) -> list[float]:
    """The scores of the images, asked about one by one: what all others are compared with."""
    return scores(model, method)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    (tmp_path / "photos").mkdir()
    found = [tmp_path / "photos" / f"{number}.png" for number in range(len(SIDES))]
    for image, path in zip(images(), found, strict=True):
        Image.fromarray(image).save(path)
    return found


@each_method
@each_model
def test_repetition_changes_no_bit(model: str, method: str) -> None:
    assert scores(model, method) == alone(model, method)
    assert len(set(alone(model, method))) == len(SIDES)


@each_method
@each_model
def test_order_and_company_change_no_bit(model: str, method: str) -> None:
    assert scores(model, method, given=images()[::-1])[::-1] == alone(model, method)
    assert scores(model, method, given=images()[3:4]) == alone(model, method)[3:4]


@each_method
@each_model
@pytest.mark.parametrize("batch", [2, 5])
def test_batches_change_nothing_but_rounding(model: str, method: str, batch: int) -> None:
    expected = alone(model, method)
    assert scores(model, method, batch=batch) == (rounded(expected) if model == "nano" else expected)


@each_model
@pytest.mark.parametrize("threads", [1, 7])
def test_threads_that_load_change_no_bit(model: str, threads: int) -> None:
    assert scores(model, "paper", threads=threads) == alone(model, "paper")


@contextmanager
def computing(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_threads_that_compute_change_nothing_but_rounding() -> None:
    expected, few = alone("nano", "vanilla")[:2], images()[:2]
    for threads in (1, 2):
        with computing(threads):
            first = scores("nano", "vanilla", given=few)
            assert first == rounded(expected)
            assert scores("nano", "vanilla", given=few) == first
    assert scores("nano", "vanilla", given=few) == expected


@each_model
def test_another_process_changes_no_bit(model: str, paths: list[Path]) -> None:
    """By the command line, whose files are decoded, with as many threads, and with sets and dicts hashed otherwise."""
    words = ["score", "--model", model, "--batch", "1", "--json", *map(str, paths)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", "from qdebias.cli import main; main()", *words]
    ran = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True)
    assert [json.loads(line)["score"] for line in ran.stdout.splitlines()] == alone(model, "paper")


@each_model
def test_going_on_with_a_run_changes_no_bit(model: str, paths: list[Path], tmp_path: Path) -> None:
    """Stopped after each image, and the last time in the middle of another method."""

    def resume(method: str, count: int, known: int) -> list[float]:
        with open_run(tmp_path / "run", backend(model).fingerprint, model=model) as run:
            scorer = StoredScorer(run, Scorer(backend=backend(model), method=method, batch=1), name=method)
            asked = scorer.ask(paths)
            for _ in range(count):
                next(asked)
            asked.close()  # type: ignore[attr-defined]
            return [score.value for score in scorer.results(paths[:known]) if isinstance(score, Score)]

    for done in range(1, len(paths) + 1):
        assert resume("paper", 1, done) == alone(model, "paper")[:done]
    assert resume("vanilla", 2, 2) == alone(model, "vanilla")[:2]
    assert resume("vanilla", 3, len(paths)) == alone(model, "vanilla")
    assert resume("paper", 0, len(paths)) == alone(model, "paper")
