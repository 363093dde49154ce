"""A run folder keeps every answer once, exactly, and only those of one model."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import qdebias.runs.scorer
from qdebias import presets
from qdebias.backends.base import Fingerprint
from qdebias.backends.fake import FakeBackend
from qdebias.equations import similarity_weight
from qdebias.errors import BackendError, SettingError, StoreError
from qdebias.image import RgbImage, digest
from qdebias.image.pool import ImagePool
from qdebias.methods.method import Context, Score
from qdebias.methods.plan import Failure
from qdebias.prompts import Question, Request
from qdebias.runs.run import Run, open_run, open_snapshot
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredBackend, StoredScorer


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    noise = np.random.default_rng(5)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(noise.integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@contextmanager
def stored(folder: Path, backend: FakeBackend, method: str = "paper", **settings: int) -> Iterator[StoredScorer]:
    with open_run(folder, backend.fingerprint, model="fake") as run:
        yield StoredScorer(run, Scorer(backend=backend, method=method, **settings), name=method)


def fill(folder: Path, backend: FakeBackend, paths: list[Path], method: str = "paper", **settings: int) -> list[float]:
    """Ask what is missing and return the scores."""
    with stored(folder, backend, method, **settings) as scorer:
        list(scorer.ask(paths))
        return [result.value for result in scorer.results(paths) if isinstance(result, Score)]


def plain(paths: list[Path], method: str = "paper", seed: int = 0) -> list[float]:
    return [score.value for score in Scorer(backend=FakeBackend(), method=method, seed=seed).score_many(paths)]


def asked(backend: FakeBackend) -> int:
    return sum(len(request.questions) for call in backend.calls for request in call)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("method", ["paper", "vanilla", "released", "only-fog"])
def test_scores_from_the_store_are_those_of_the_scorer(method: str, paths: list[Path], tmp_path: Path) -> None:
    assert fill(tmp_path / "run", FakeBackend(), paths, method) == plain(paths, method)
    assert fill(tmp_path / "run", FakeBackend(failing=()), paths, method) == plain(paths, method)


def test_what_is_done_is_neither_asked_nor_decoded_again(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "run", FakeBackend(), paths[:4])
    read: list[object] = []
    load = qdebias.runs.scorer.load_image
    monkeypatch.setattr(qdebias.runs.scorer, "load_image", lambda path, **more: read.append(path) or load(path, **more))
    backend = FakeBackend()
    assert fill(tmp_path / "run", backend, paths) == plain(paths)
    assert set(read) == {*paths[4:], *paths}  # the second part by `plain`
    assert read[:2] == paths[4:]
    assert asked(backend) == 2 * 8


def test_every_answer_is_one_line_with_the_exact_logits(paths: list[Path], tmp_path: Path) -> None:
    def awkward(request: Request, _: Question) -> list[float]:
        value = float(np.float32(digest(request.images[0]).count("a") / 3))
        return [value, np.nextafter(value, 9)]

    backend = FakeBackend(answer=awkward)
    fill(tmp_path / "run", backend, paths)
    lines = rows(tmp_path / "run" / "answers.jsonl")
    assert len({str(line["key"]) for line in lines}) == len(lines) == 6 * 8
    expected = [awkward(request, one) for call in backend.calls for request in call for one in request.questions]
    assert [line["logits"] for line in lines] == expected
    with open_snapshot(tmp_path / "run") as snapshot:
        assert [snapshot.index.logits(str(line["key"])).tolist() for line in lines] == expected


def test_another_method_asks_only_what_is_missing(paths: list[Path], tmp_path: Path) -> None:
    fill(tmp_path / "run", FakeBackend(), paths)
    for method, missing in [("average", 0), ("only-fog", 0), ("winner", 0), ("t1", 4), ("vanilla", 1), ("qbench", 1)]:
        backend = FakeBackend()
        assert fill(tmp_path / "run", backend, paths, method) == plain(paths, method)
        assert asked(backend) == missing * len(paths), method


def test_the_order_of_a_pair_tells_answers_apart(paths: list[Path], tmp_path: Path) -> None:
    fill(tmp_path / "run", FakeBackend(), paths)
    backend = FakeBackend()
    assert fill(tmp_path / "run", backend, paths, "query-first") == plain(paths, "query-first")
    assert asked(backend) == 8 * len(paths)
    backend = FakeBackend()
    assert fill(tmp_path / "run", backend, paths, "query-first") == plain(paths, "query-first")
    assert asked(backend) == 0


def test_another_seed_asks_again_only_where_pixels_differ(paths: list[Path], tmp_path: Path) -> None:
    fill(tmp_path / "run", FakeBackend(), paths)
    backend = FakeBackend()
    assert fill(tmp_path / "run", backend, paths, seed=1) == plain(paths, seed=1)
    assert asked(backend) == 2 * 2 * len(paths)  # spatter and fog; zoom blur and saturation have no noise


def test_images_of_the_same_pixels_are_asked_about_once(paths: list[Path], tmp_path: Path) -> None:
    twin = paths[0].with_name("twin.bmp")
    Image.open(paths[0]).save(twin)
    backend = FakeBackend()
    scores = fill(tmp_path / "run", backend, [twin, *paths])
    assert scores == plain([twin, *paths])
    assert asked(backend) == 8 * len(paths)
    assert len(rows(tmp_path / "run" / "images.jsonl")) == len(paths) + 1


def test_a_changed_file_is_asked_about_again(paths: list[Path], tmp_path: Path) -> None:
    before = fill(tmp_path / "run", FakeBackend(), paths)
    Image.open(paths[2]).rotate(180).save(paths[2])
    backend = FakeBackend()
    after = fill(tmp_path / "run", backend, paths)
    assert [new == old for new, old in zip(after, before, strict=True)] == [number != 2 for number in range(6)]
    assert asked(backend) == 8


def test_failures_are_rows_and_are_tried_again_only_on_request(paths: list[Path], tmp_path: Path) -> None:
    bad = digest(qdebias.load_image(paths[1]))
    paths[3].write_text("no image")
    missing = tmp_path / "photos" / "missing.png"
    everything = [*paths, missing]

    def failures(backend: FakeBackend, *, retry: bool) -> list[str]:
        with stored(tmp_path / "run", backend) as scorer:
            list(scorer.ask(everything, retry=retry))
            results = list(scorer.results(everything))
            return [Path(result.name).name for result in results if isinstance(result, Failure)]

    assert failures(FakeBackend(failing=[bad]), retry=False) == ["1.png", "3.png", "missing.png"]
    backend = FakeBackend()
    assert failures(backend, retry=False) == ["1.png", "3.png", "missing.png"]
    assert asked(backend) == 0
    assert failures(backend, retry=True) == ["3.png", "missing.png"]
    assert asked(backend) == 8
    Image.open(paths[0]).transpose(Image.Transpose.ROTATE_90).save(missing)
    assert failures(backend, retry=False) == ["3.png"]  # a file that has changed is tried without being told to
    errors = [row["error"] for row in rows(tmp_path / "run" / "images.jsonl") if row["error"]]
    assert sum("3.png: is not an image" in str(error) for error in errors) == 2


def test_a_run_of_another_model_is_refused_field_by_field(paths: list[Path], tmp_path: Path) -> None:
    fill(tmp_path / "run", FakeBackend(), paths[:1])
    with pytest.raises(StoreError, match=r"answers are never mixed; model: fake in the run, other now\. Load the same"):
        fill(tmp_path / "run", FakeBackend(name="other"), paths)
    fill(tmp_path / "run", FakeBackend(), paths)


def test_another_environment_is_noted_and_not_refused(paths: list[Path], tmp_path: Path) -> None:
    fill(tmp_path / "run", FakeBackend(), paths[:1])
    fingerprint = Fingerprint(identity=FakeBackend().fingerprint.identity, environment={"numpy": "1.0", "gpu": "H100"})
    with open_run(tmp_path / "run", fingerprint, model="fake") as run:
        assert len(run.notes) == 2
        assert run.notes[0] == "another environment than before: gpu: absent in the run, H100 now"
        list(StoredScorer(run, Scorer(backend=FakeBackend()), name="paper").ask(paths[1:2]))
    with open_snapshot(tmp_path / "run") as snapshot:
        assert [session["environment"]["numpy"] for session in snapshot.manifest.sessions] == [np.__version__, "1.0"]


def brightness_gap(first: RgbImage, second: RgbImage) -> float:
    return abs(float(first.mean()) - float(second.mean())) / 255


def test_what_is_measured_on_pixels_is_stored_with_the_answers(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = replace(presets.PAPER, same=None, weigh=similarity_weight, distance=brightness_gap)
    fill(tmp_path / "run", FakeBackend(), paths)
    expected = [score.value for score in Scorer(backend=FakeBackend(), method=method).score_many(paths)]

    def scores(backend: FakeBackend) -> list[float]:
        with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
            scorer = StoredScorer(run, Scorer(backend=backend, method=method), name="gap")
            list(scorer.ask(paths))
            return [result.value for result in scorer.results(paths) if isinstance(result, Score)]

    backend = FakeBackend()
    assert scores(backend) == expected
    assert asked(backend) == 0
    monkeypatch.setattr(qdebias.runs.scorer, "load_image", None)
    assert scores(backend) == expected


def test_conditions_of_other_content_are_asked_for_each_pool(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = presets.get("mismatched").method
    pools = [ImagePool(paths=tuple(others), contents=tuple(map(str, others))) for others in (paths, paths[::-1])]

    def scores(backend: FakeBackend, pool: ImagePool) -> list[float]:
        with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
            scorer = StoredScorer(run, Scorer(backend=backend, method=method, pool=pool), name="mismatched")
            list(scorer.ask(paths[:2]))
            return [result.value for result in scorer.results(paths[:2]) if isinstance(result, Score)]

    expected = [
        [score.value for score in Scorer(backend=FakeBackend(), method=method, pool=pool).score_many(paths[:2])]
        for pool in pools
    ]
    fill(tmp_path / "run", FakeBackend(), paths)
    assert [scores(FakeBackend(), pool) for pool in pools] == expected
    backend = FakeBackend()
    monkeypatch.setattr(qdebias.runs.scorer, "load_image", None)
    assert [scores(backend, pool) for pool in pools] == expected
    assert asked(backend) == 0


def test_logits_that_are_no_numbers_are_not_stored(photo: RgbImage, tmp_path: Path) -> None:
    class Broken:
        fingerprint = Fingerprint(identity={"model": "broken"})

        def option_logits(self, requests: list[Request]) -> list[list[np.ndarray]]:
            return [[np.array([np.nan, 0.0]) for _ in request.questions] for request in requests]

    with (
        pytest.raises(BackendError, match="which are not stored"),
        open_run(tmp_path / "run", Broken.fingerprint, model="broken") as run,
    ):
        Scorer(backend=StoredBackend(Broken(), run), method="vanilla").score(photo)
    assert (tmp_path / "run" / "answers.jsonl").read_text() == ""


def test_a_stored_backend_serves_images_in_memory(photo: RgbImage, tmp_path: Path) -> None:
    backend = FakeBackend()
    for _ in range(2):
        with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
            score = Scorer(backend=StoredBackend(backend, run)).score(photo)
            assert score.value == Scorer(backend=FakeBackend()).score(photo).value
    assert asked(backend) == 8


def test_methods_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    def shade(image: RgbImage, _: object) -> RgbImage:
        return image // 2

    backend = FakeBackend()
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:

        def add(degradation: Callable[..., RgbImage]) -> str:
            method = qdebias.QDebias(quality=presets.CONDITIONAL, degradations=(degradation,))
            return run.method(method, name="mine", context=Context())

        assert add(shade) == add(shade)
        for nameless in (lambda image, _: image, object()):
            with pytest.raises(
                SettingError, match=r"cannot recognise .* when it is resumed; use a function with a name"
            ):
                add(nameless)


def test_a_folder_of_something_else_is_refused(paths: list[Path]) -> None:
    fingerprint = FakeBackend().fingerprint
    with pytest.raises(StoreError, match=r"photos holds 0\.png and no run; choose a new or empty folder"):
        open_run(paths[0].parent, fingerprint, model="fake").__enter__()
    with pytest.raises(StoreError, match="is not a folder"):
        open_run(paths[0], fingerprint, model="fake").__enter__()
    with pytest.raises(StoreError, match="is not a run folder"):
        open_snapshot(paths[0].parent).__enter__()


def test_open_run_is_what_the_annotations_say(tmp_path: Path) -> None:
    with open_run(tmp_path / "a" / "run", FakeBackend().fingerprint, model="fake") as run:
        assert isinstance(run, Run)
