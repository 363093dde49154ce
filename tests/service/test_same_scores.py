"""Scores through HTTP beside those of the library, with a real model: what --batch promises."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from serving import Running, encoded, noise, running

METHOD = "vanilla"  # one question an image: the more of them go together
SEEDS = range(8)


@pytest.fixture(scope="module")
def nano() -> Backend:
    return load_backend("nano", device="cpu")


@contextmanager
def answering(nano: Backend, batch: int) -> Iterator[Running]:
    with running({"nano": nano}, Settings(method=METHOD, batch=batch)) as server:
        yield server


def ask(server: Running) -> list[float]:
    """Return the scores of the images, requested by as many clients at once."""

    def one(seed: int) -> float:
        with server.client() as client:
            return float(client.post("/v1/score", files={"image": encoded(noise(seed))}).json()["score"])

    with ThreadPoolExecutor(len(SEEDS)) as pool:
        return list(pool.map(one, SEEDS))


def direct(nano: Backend) -> list[float]:
    scorer = Scorer(backend=nano, method=METHOD)
    return [scorer.score(noise(seed)).value for seed in SEEDS]


def test_alone_with_the_model_every_score_has_the_bits_of_the_library(nano: Backend) -> None:
    with answering(nano, batch=1) as server:
        assert ask(server) == direct(nano)


def test_in_batches_too_every_score_of_the_embedded_model_has_the_bits_of_the_library(nano: Backend) -> None:
    with answering(nano, batch=8) as server:
        assert ask(server) == direct(nano)
        count = server.service.metrics.registry.get_sample_value("qdebias_batch_images_count")
        assert count is not None
        assert count < len(SEEDS)  # some went together
