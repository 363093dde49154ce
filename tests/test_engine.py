"""Scoring many images: order, batches, failures."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import qdebias
from qdebias import presets
from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.errors import BackendError, ImageError, SettingError
from qdebias.image import RgbImage, digest
from qdebias.methods.method import Answers, Context, Plan, Score, Vanilla
from qdebias.methods.plan import Failure
from qdebias.methods.presets import VANILLA
from qdebias.prompts import Request
from qdebias.runs import scorer as engine
from qdebias.runs.scorer import Scorer


@pytest.fixture
def photos() -> list[RgbImage]:
    noise = np.random.default_rng(5)
    return [noise.integers(0, 256, (40 + 3 * i, 50 + i, 3), dtype=np.uint8) for i in range(7)]


def values(results: Sequence[Score | Failure]) -> list[float | None]:
    return [result.value if isinstance(result, Score) else None for result in results]


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_the_batch_changes_no_score(batch: int, photos: list[RgbImage]) -> None:
    alone = [Scorer(backend=FakeBackend()).score(photo).value for photo in photos]
    together = list(Scorer(backend=FakeBackend(), batch=batch, threads=3).score_many(photos))
    assert values(together) == alone
    assert len(set(alone)) == len(alone)


def test_the_order_changes_no_score(photos: list[RgbImage]) -> None:
    scorer = Scorer(backend=FakeBackend(), batch=3)
    assert values(list(scorer.score_many(photos[::-1]))) == values(list(scorer.score_many(photos)))[::-1]


def test_every_condition_is_asked_about_once(photos: list[RgbImage]) -> None:
    backend = FakeBackend()
    list(Scorer(backend=backend, batch=4).score_many(photos))
    assert [len(call) for call in backend.calls] == [16, 12]


def test_the_seed_changes_the_score(photos: list[RgbImage]) -> None:
    first, second = (Scorer(backend=FakeBackend(), seed=seed).score(photos[0]).value for seed in (0, 1))
    assert first != second


def test_a_bad_image_stands_in_its_place_and_the_others_are_scored(photos: list[RgbImage], tmp_path: Path) -> None:
    bad = tmp_path / "letter.jpg"
    bad.write_text("Dear reader,")
    results = list(Scorer(backend=FakeBackend(), batch=3).score_many([photos[0], bad, photos[1]], on_error="return"))
    assert isinstance(results[1], Failure)
    assert results[1].name == str(bad)
    assert "letter.jpg: is not an image" in results[1].error
    assert values([results[0], results[2]]) == values(list(Scorer(backend=FakeBackend()).score_many(photos[:2])))


def test_an_image_that_the_backend_refuses_does_not_fail_its_batch(photos: list[RgbImage]) -> None:
    backend = FakeBackend(failing=[digest(photos[2])])
    results = list(Scorer(backend=backend, batch=4).score_many(photos, on_error="return"))
    assert [isinstance(result, Failure) for result in results] == [i == 2 for i in range(7)]
    assert isinstance(results[2], Failure)
    assert results[2].error.startswith("image 3: ")


def test_by_default_the_first_bad_image_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.png: no such file"):
        list(Scorer(backend=FakeBackend()).score_many([tmp_path / "nowhere.png"]))


def test_logits_that_are_not_finite_stop_the_run(photo: RgbImage) -> None:
    class Broken:
        fingerprint = Fingerprint(identity={})

        def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
            return [[np.array([np.nan, 0.0]) for _ in request.questions] for request in requests]

    with pytest.raises(BackendError, match=r"logits \[nan  0.\].* load it in bfloat16 or float32"):
        Scorer(backend=Broken()).score(photo)


def test_images_are_drawn_only_a_little_ahead_of_the_model(photo: RgbImage) -> None:
    drawn = 0

    def endless() -> Iterator[RgbImage]:
        nonlocal drawn
        while True:
            drawn += 1
            yield photo

    results = Scorer(backend=FakeBackend(), batch=4, method="vanilla").score_many(endless())
    for _ in range(9):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert drawn <= 9 + 3 * 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("qdebias-load")]


def test_impossible_settings_are_refused() -> None:
    for setting in ({"batch": 0}, {"threads": 0}, {"seed": -1}, {"max_pixels": 0}):
        with pytest.raises(SettingError, match="must be 1 or more"):
            Scorer(backend=FakeBackend(), **setting)
    with pytest.raises(SettingError, match="no method 'nonsense'"):
        Scorer(backend=FakeBackend(), method="nonsense")
    with pytest.raises(SettingError, match="'raise' or 'return', got 'ignore'"):
        list(Scorer(backend=FakeBackend()).score_many([], on_error="ignore"))  # type: ignore[arg-type]


def test_the_one_call_takes_one_image_or_many(photo: RgbImage, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    for images in (photo, Image.fromarray(photo), path, str(path), [photo], iter([path])):
        (score,) = qdebias.score(images, model=FakeBackend())
        assert score.value == Scorer(backend=FakeBackend()).score(photo).value
    (failure,) = qdebias.score([tmp_path / "nowhere.png"], model="fake", on_error="return")
    assert isinstance(failure, Failure)


def test_an_image_for_which_there_is_not_enough_memory_fails_alone(photo: RgbImage) -> None:
    def greedy(image: RgbImage, _: object) -> RgbImage:
        if image.shape[0] > 100:
            raise MemoryError
        return image

    method = replace(presets.get("average").method, degradations=(greedy,))
    large = np.tile(photo, (2, 1, 1))
    results = list(Scorer(backend=FakeBackend(), method=method).score_many([photo, large], on_error="return"))
    assert isinstance(results[0], Score)
    assert isinstance(results[1], Failure)
    assert "more memory than is available" in results[1].error


class Watched:
    """Vanilla, and how many pixels it has planned that no model was asked about yet."""

    def __init__(self) -> None:
        self._method = Vanilla(question=VANILLA)
        self._lock = threading.Lock()
        self.waiting = self.most = 0

    def plan(self, image: RgbImage, context: Context) -> Plan:
        self.count(image.size // 3)
        return self._method.plan(image, context)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        return self._method.combine(plan, answers)

    def count(self, pixels: int) -> None:
        with self._lock:
            self.waiting += pixels
            self.most = max(self.most, self.waiting)


@pytest.mark.parametrize("threads", [1, 4])
def test_large_images_wait_until_there_is_room(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    noise, limit = np.random.default_rng(5), 20_000
    sizes = noise.integers(32, 130, (60, 2))
    photos = [noise.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    largest = max(photo.size // 3 for photo in photos)
    watched = Watched()

    class Asked(FakeBackend):
        def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
            watched.count(-sum(image.size // 3 for request in requests for image in request.images))
            return super().option_logits(requests)

    want = values(list(Scorer(backend=FakeBackend(), method=watched).score_many(photos)))
    assert watched.most > 4 * limit
    watched.waiting = watched.most = 0
    monkeypatch.setattr(engine, "PIXELS_READY", limit)
    assert values(list(Scorer(backend=Asked(), method=watched, threads=threads).score_many(photos))) == want
    assert watched.most <= 2 * (limit + largest)


def test_images_larger_than_the_room_come_one_by_one(photos: list[RgbImage], monkeypatch: pytest.MonkeyPatch) -> None:
    want = values(list(Scorer(backend=FakeBackend()).score_many(photos)))
    monkeypatch.setattr(engine, "PIXELS_READY", 1)
    backend = FakeBackend()
    assert values(list(Scorer(backend=backend, threads=4).score_many(photos))) == want
    assert [len(call) for call in backend.calls] == [4] * len(photos)


def test_encoded_images_are_drawn_ahead_within_a_limit(photos: list[RgbImage], monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    Image.fromarray(photos[0]).save(file, "png")
    alone = Scorer(backend=FakeBackend()).score(photos[0]).value
    for limit, ahead in ((3 * len(file.getvalue()), 3), (1, 1), (engine.BYTES_READY, 8)):
        monkeypatch.setattr(engine, "BYTES_READY", limit)
        drawn, most, given = 0, 0, 0

        def encoded() -> Iterator[bytes]:
            nonlocal drawn, most
            for _ in range(20):
                drawn, most = drawn + 1, max(most, drawn - given)  # noqa: B023
                yield file.getvalue()

        for result in Scorer(backend=FakeBackend(), batch=4).score_many(encoded()):
            given += 1
            assert result.value == alone  # type: ignore[union-attr]
        assert ahead <= most <= ahead + 5  # those of the batch that the model has
        assert given == 20


def test_the_next_images_are_degraded_while_the_model_runs(photos: list[RgbImage]) -> None:
    """The model does not answer about the first batch before an image of the next one is planned."""
    planned = threading.Semaphore(0)

    class Planned(Watched):
        def plan(self, image: RgbImage, context: Context) -> Plan:
            planned.release()
            return super().plan(image, context)

    class Waiting(FakeBackend):
        def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
            for _ in range(3 if not self.calls else 0):
                assert planned.acquire(timeout=60), "nothing is prepared while the model runs"
            return super().option_logits(requests)

    assert len(list(Scorer(backend=Waiting(), method=Planned(), batch=2, threads=1).score_many(photos))) == len(photos)


def test_abandoned_threads_go_away_though_there_is_no_room(
    photos: list[RgbImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PIXELS_READY", 1)
    results = Scorer(backend=FakeBackend(), threads=3).score_many(photos)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("qdebias-load")]


def test_unexpected_errors_of_a_method_reach_the_caller(photos: list[RgbImage]) -> None:
    class Broken(Watched):
        def plan(self, image: RgbImage, context: Context) -> Plan:  # noqa: ARG002
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Scorer(backend=FakeBackend(), method=Broken(), threads=2).score_many(photos))
