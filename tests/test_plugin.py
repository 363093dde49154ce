"""What the example package outside of `src` brings is used by its name alone, from the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import qdebias
from contract import BackendContract, assert_same, differ, pair
from qdebias import presets
from qdebias.backends.base import Backend
from qdebias.errors import SettingError
from qdebias.image import RgbImage, load_image
from qdebias.prompts import Placement
from test_cli import Outcome, folder, run  # noqa: F401  (folder is a fixture)

PLUGIN = Path(__file__).resolve().parent.parent / "examples" / "plugin"
FILES = sorted(PLUGIN.glob("qdebias_example/[a-z]*.py"))


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGIN)


class TestContractOfTheExampleModel(BackendContract):
    reads_tokens = False

    @pytest.fixture
    def backend(self) -> Backend:
        return qdebias.load_backend("qdebias_example.sharpness:Sharpness")

    def test_every_part_of_a_request_matters(self, backend: Backend) -> None:
        """It reads no text, so only the images do."""
        request = pair(1, 2)
        for images in (request.images[::-1], request.images[1:]):
            assert differ(backend.option_logits([request]), backend.option_logits([replace(request, images=images)]))

    def test_placement_matters(self, backend: Backend, placements: tuple[Placement, ...]) -> None:  # noqa: ARG002
        """To a model of words it does; to this one it must not."""
        before, after = pair(1, 2, "before"), pair(1, 2, "after")
        assert_same(backend.option_logits([before]), backend.option_logits([after]))


def scores(outcome: Outcome) -> list[float]:
    assert outcome.returncode == 0, outcome.stderr
    return [json.loads(line)["score"] for line in outcome.stdout.splitlines()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_has_fewer_than_30_lines(path: Path) -> None:
    assert sum(bool(line) for line in path.read_text(encoding="utf-8").splitlines()) < 30


def test_degradation_is_named_behind_an_at(folder: Path) -> None:  # noqa: F811
    out = folder / "out"
    got = run("degrade", folder / "a.png", "--method", "paper@fog,qdebias_example.rain:rain", "--out", out)
    assert got.returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.png.Fog.png", "a.png.rain.png"]
    assert not np.array_equal(load_image(out / "a.png.rain.png"), load_image(folder / "a.png"))


def test_model_and_degradation_of_ones_own_score(folder: Path) -> None:  # noqa: F811
    method, model = "paper@qdebias_example.rain:rain", "qdebias_example.sharpness:Sharpness"
    got = run("score", folder / "a.png", "--model", model, "--method", method, "--json")
    expected = qdebias.score(folder / "a.png", model=model, method=method)[0]
    assert scores(got) == [expected.value]
    assert len(expected.good) == 1


def test_sharper_is_better_to_the_example_model(photo: RgbImage) -> None:
    blurred = qdebias.degrade.ZoomBlur()(photo, np.random.default_rng(0))
    sharp, soft = qdebias.score([photo, blurred], model="qdebias_example.sharpness:Sharpness", method="vanilla")
    assert sharp.value > soft.value


@pytest.mark.parametrize("method", ["qdebias_example.levels:LEVELS", "qdebias_example.median:Median"])
def test_method_of_ones_own_keeps_its_answers_in_a_run(method: str, folder: Path) -> None:  # noqa: F811
    arguments = ("score", folder / "a.png", folder / "c.png", "--model", "fake", "--method", method, "--json")
    plain = run(*arguments)
    stored, again = (run(*arguments, "--run", folder / "run") for _ in range(2))
    assert scores(plain) == scores(stored) == scores(again)


def test_median_is_the_median(photo: RgbImage) -> None:
    (median,) = qdebias.score(photo, model="fake", method="qdebias_example.median:Median")
    (paper,) = qdebias.score(photo, model="fake")
    assert median.value == np.median(paper.good)


def test_failures_under_a_method_of_ones_own_are_tried_again_by_its_name(folder: Path) -> None:  # noqa: F811
    (folder / "b.png").write_text("no image")
    arguments = ("--model", "fake", "--method", "paper@qdebias_example.rain:rain", "--run", folder / "run")
    assert run("score", folder / "b.png", folder / "a.png", *arguments).returncode == 1
    Image.fromarray(load_image(folder / "a.png")).save(folder / "b.png")
    assert run("retry", folder / "run").returncode == 0


def test_method_of_ones_own_is_described() -> None:
    got = run("methods", "paper@qdebias_example.rain:rain")
    assert got.stdout.startswith("paper@qdebias_example.rain:rain: paper with qdebias_example.rain:rain\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.such:thing", "method no.such:thing cannot be imported.*PYTHONPATH"),
        ("qdebias_example.rain:sun", "cannot be imported"),
        ("qdebias.image:MAX_PIXELS", "has no plan and combine"),
        ("paper@qdebias.image:MAX_PIXELS", "has to be a function"),
        ("paper@qdebias.degrade:Fog", "has to be a function"),
        ("paper@smoke", "no degradation 'smoke'; choose from zoom-blur, "),
        ("paper@", "no degradation ''"),
        ("vanilla@fog", "'vanilla' takes no degradations"),
    ],
)
def test_name_that_means_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        presets.get(name)


def shrunk(image: RgbImage, rng: object) -> RgbImage:  # noqa: ARG001
    return image[::2, ::2]


def test_degradation_that_changes_the_size_is_refused(photo: RgbImage) -> None:
    with pytest.raises(SettingError, match=r"shrunk gave uint8 of shape \(36, 48, 3\) for an image of shape \(72, 96"):
        qdebias.score(photo, model="fake", method=f"paper@{__name__}:shrunk")
