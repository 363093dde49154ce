"""Images are made smaller where that is requested, and the run folder says so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.degrade import Fog, noise_rng
from qdebias.errors import ImageError, SettingError
from qdebias.image import RgbImage, digest, downsized
from qdebias.image.pool import ImagePool
from qdebias.methods.presets import PAPER
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    noise, paths = np.random.default_rng(5), []
    for number, size in enumerate([(120, 90), (50, 64), (200, 33)]):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(("shape", "want"), [((300, 400), (75, 100)), ((400, 131), (100, 33)), ((101, 100), (100, 99))])
def test_longer_side_is_cut_down_and_the_aspect_ratio_kept(shape: tuple[int, int], want: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 200, np.uint8)
    smaller = downsized(image, 100)
    assert smaller.shape == (*want, 3)
    assert (smaller == 200).all()


def test_image_within_the_limit_is_the_same_object(photo: RgbImage) -> None:
    assert downsized(photo, 96) is photo


def test_fine_stripes_become_grey_and_no_coarse_ones() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = downsized(stripes, 90)[5:-5, 5:-5]
    assert abs(inner.astype(int) - 127).max() <= 3


def test_image_that_would_be_too_thin_is_refused() -> None:
    with pytest.raises(ImageError, match="400 x 100 with a side of at most 64 would be 64 x 16, too small"):
        downsized(np.zeros((100, 400, 3), np.uint8), 64)


def test_noise_is_that_of_the_original_and_the_model_sees_the_smaller_image(photo: RgbImage) -> None:
    backend = FakeBackend()
    method = replace(PAPER, degradations=(Fog(),))
    Scorer(backend=backend, method=method, max_side=64, seed=3).score(photo)
    ((request,),) = backend.calls
    smaller = downsized(photo, 64)
    np.testing.assert_array_equal(request.images[1], smaller)
    np.testing.assert_array_equal(request.images[0], Fog()(smaller, noise_rng(3, digest(photo), "Fog")))


def test_default_changes_nothing(photo: RgbImage) -> None:
    plain, large = Scorer(backend=FakeBackend()), Scorer(backend=FakeBackend(), max_side=96)
    assert plain.fingerprint == plain.backend.fingerprint
    assert large.fingerprint != plain.fingerprint
    assert large.score(photo).value == plain.score(photo).value


def test_run_of_another_size_is_refused_and_nothing_is_mixed(photos: list[Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    scores = command("score", *photos[:2], "--model", "fake", "--run", run, "--max-side", 64, "--json")
    assert scores.exit_code == 0, scores.stderr
    values = [json.loads(line)["score"] for line in scores.stdout.splitlines()]
    scorer = Scorer(backend=FakeBackend(), max_side=64)
    assert values == [scorer.score(path).value for path in photos[:2]]
    assert json.loads((run / "run.json").read_text())["identity"]["max_side"] == "64"
    for other in ([], ["--max-side", "48"]):
        refused = command("score", photos[0], "--model", "fake", "--run", run, *other)
        assert refused.exit_code == 2
        assert "max_side: 64 in the run" in refused.stderr


def test_scorer_of_another_size_than_its_run_is_refused(tmp_path: Path) -> None:
    scorer = Scorer(backend=FakeBackend(), max_side=64)
    with (
        open_run(tmp_path / "run", scorer.backend.fingerprint, model="fake") as run,
        pytest.raises(SettingError, match="opened for max_side=None and the scorer has max_side=64"),
    ):
        StoredScorer(run, scorer, name="paper")


def test_retry_remembers_the_size(photos: list[Path], tmp_path: Path) -> None:
    run, mended = tmp_path / "run", photos[0].read_bytes()
    photos[0].write_text("Dear reader,")
    options = ("--model", "fake", "--run", run, "--max-side", 64, "--json")
    assert command("score", *photos[:2], *options).exit_code == 1
    photos[0].write_bytes(mended)
    retried = command("retry", run)
    assert retried.exit_code == 0, retried.stderr
    scores = command("score", photos[0], *options)
    assert json.loads(scores.stdout)["score"] == Scorer(backend=FakeBackend(), max_side=64).score(photos[0]).value


def test_thin_image_is_a_row_with_its_error(photos: list[Path]) -> None:
    result = command("score", *photos, "--model", "fake", "--max-side", 64, "--json")
    assert result.exit_code == 1
    errors = [json.loads(line)["error"] for line in result.stdout.splitlines()]
    assert errors[:2] == [None, None]
    assert errors[2] is not None
    assert "2.png: 33 x 200 with a side of at most 64 would be 11 x 64" in errors[2]


def test_impossible_settings_are_refused(photos: list[Path]) -> None:
    with pytest.raises(SettingError, match="max_side must be 32 or more, got 31"):
        Scorer(backend=FakeBackend(), max_side=31)
    with pytest.raises(SettingError, match="leave out max_side or the pool"):
        Scorer(backend=FakeBackend(), max_side=64, pool=ImagePool(paths=tuple(photos), contents=("a", "b", "c")))
