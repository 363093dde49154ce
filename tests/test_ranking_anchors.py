"""A scale of fixed images: by hand, across runs, and from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import expit

from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError
from qdebias.evaluation.ranking import Ranking, rank
from qdebias.evaluation.strengths import against
from qdebias.image import digest, load_image
from qdebias.runs.run import open_run
from test_cli import run as command
from test_ranking import asked_of, brighter


def test_the_strength_is_the_most_likely_one() -> None:
    anchors, log_odds = np.array([-2.0, 0.3, 1.7]), np.array([2.5, 0.4, -0.1])
    wins = expit(log_odds)

    def loss(strength: float) -> float:
        p = expit(strength - anchors)
        return float(-(wins * np.log(p) + (1 - wins) * np.log(1 - p)).sum())

    value, error = against(anchors, log_odds)
    assert value == pytest.approx(minimize_scalar(loss, bounds=(-10, 10), options={"xatol": 1e-10}).x, abs=1e-5)
    p = expit(value - anchors)
    noise, spread = ((log_odds - (value - anchors)) ** 2).sum() / 2, p * (1 - p)
    assert error == pytest.approx(np.sqrt(noise * (spread**2).sum()) / spread.sum())


@pytest.mark.parametrize("sure", [500.0, -500.0])
def test_answers_without_any_doubt_stay_finite(sure: float) -> None:
    value, _ = against(np.array([-1.0, 1.0]), np.array([sure, sure]))
    assert 15 < np.sign(sure) * value < 25


def test_one_anchor_has_no_error() -> None:
    value, error = against(np.array([0.5]), np.array([1.2]))
    assert value == pytest.approx(1.7)
    assert np.isnan(error)


def write(folder: Path, levels: dict[str, int]) -> Path:
    noise = np.random.default_rng(4)
    folder.mkdir()
    for name, level in levels.items():
        picture = noise.integers(0, 40, (36, 40, 3)) + level
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def scale(tmp_path: Path) -> Path:
    return write(tmp_path / "scale", {"low": 20, "middle": 90, "high": 160})


def ranked(photos: Path, scale: Path, folder: Path, backend: FakeBackend) -> Ranking:
    with open_run(folder, backend.fingerprint, model="fake") as run:
        return rank(sorted(photos.iterdir()), backend=backend, run=run, anchors=sorted(scale.iterdir()))


def strengths(found: Ranking) -> dict[str, float | None]:
    return {Path(row.path).stem: row.strength for row in found.rows}


def test_strengths_of_two_runs_are_on_one_scale(scale: Path, tmp_path: Path) -> None:
    one = ranked(write(tmp_path / "a", {"x": 50, "y": 130}), scale, tmp_path / "first", FakeBackend(answer=brighter))
    photos = write(tmp_path / "b", {"x": 50, "z": 200, "w": 5, "v": 70})
    other = ranked(photos, scale, tmp_path / "second", FakeBackend(answer=brighter))
    assert strengths(one)["x"] == pytest.approx(strengths(other)["x"], abs=1e-9)
    marks = [load_image(path).mean() / 20 for path in sorted(scale.iterdir())]
    for path in photos.iterdir():
        want = load_image(path).mean() / 20 - np.mean(marks)
        assert strengths(other)[path.stem] == pytest.approx(want, abs=1e-6)
    assert [Path(row.path).stem for row in other.rows] == ["z", "v", "x", "w"]
    assert one.first == pytest.approx(1.5)


def test_an_image_is_asked_beside_each_anchor_in_both_orders(scale: Path, tmp_path: Path) -> None:
    photos, backend = write(tmp_path / "a", {"x": 50, "y": 130}), FakeBackend(answer=brighter)
    found = ranked(photos, scale, tmp_path / "run", backend)
    assert asked_of(backend) == 2 * (3 + 2 * 3)
    assert [row.opponents for row in found.rows] == [3, 3]
    (photos / "z.png").write_bytes((write(tmp_path / "c", {"z": 70}) / "z.png").read_bytes())
    again = ranked(photos, scale, tmp_path / "run", backend)
    assert asked_of(backend) == 2 * (3 + 3 * 3)
    assert {name: strengths(again)[name] for name in ("x", "y")} == strengths(found)


def test_an_anchor_among_the_images_is_not_compared_with_itself(scale: Path, tmp_path: Path) -> None:
    found = ranked(scale, scale, tmp_path / "run", FakeBackend(answer=brighter))
    assert [(Path(row.path).stem, row.opponents) for row in found.rows] == [("high", 2), ("middle", 2), ("low", 2)]


def test_an_image_that_fails_is_a_row_and_an_anchor_that_fails_is_an_error(scale: Path, tmp_path: Path) -> None:
    photos = write(tmp_path / "a", {"x": 50, "y": 130})
    refused = digest(load_image(photos / "x.png"))
    found = ranked(photos, scale, tmp_path / "run", FakeBackend(answer=brighter, failing=(refused,)))
    assert (found.rows[0].rank, found.rows[1].rank) == (1, None)
    assert "set to fail" in (found.rows[1].error or "")
    refused = digest(load_image(scale / "low.png"))
    with pytest.raises(SettingError, match="cannot compare two anchors, so there is no scale"):
        ranked(photos, scale, tmp_path / "other", FakeBackend(answer=brighter, failing=(refused,)))
    (scale / "letter.png").write_text("Dear reader,")
    with pytest.raises(SettingError, match=r"an anchor cannot be read.*letter\.png"):
        ranked(photos, scale, tmp_path / "run", FakeBackend(answer=brighter))


def test_one_anchor_is_no_scale(tmp_path: Path) -> None:
    photos = write(tmp_path / "a", {"x": 50})
    with pytest.raises(SettingError, match="needs 2 to 50 different anchors, got 1"):
        ranked(photos, write(tmp_path / "one", {"low": 20}), tmp_path / "run", FakeBackend(answer=brighter))


def test_score_gives_the_strength_as_log_odds_in_the_order_of_the_images(scale: Path, tmp_path: Path) -> None:
    photos, out = write(tmp_path / "a", {"x": 50, "y": 130, "z": 90}), tmp_path / "scores.csv"
    (photos / "letter.png").write_text("Dear reader,")
    names = [photos / name for name in ("y.png", "letter.png", "x.png", "z.png")]
    asked = ("score", *names, "--anchors", scale, "--model", "fake")
    got = command(*asked, "--json", "--out", out)
    assert got.returncode == 1
    rows = [json.loads(line) for line in got.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(name) for name in names]
    ranked = {row["path"]: row for row in map(json.loads, command("rank", *asked[1:], "--json").stdout.splitlines())}
    for row in rows:
        same = ranked[row["path"]]
        assert row["log_odds"] == same["strength"]
        assert [row[name] for name in ("standard_error", "low", "high", "opponents")] == [
            same[name] for name in ("standard_error", "low", "high", "opponents")
        ]
        if row["error"] is None:
            assert row["score"] == pytest.approx(expit(same["strength"]))
            assert row["method"] == f"quality beside {scale}"
    assert "letter.png: is not an image" in rows[1]["error"]
    assert out.read_text().splitlines()[0].endswith("standard_error,low,high,opponents")
    alone = json.loads(command("score", names[0], *asked[5:], "--json", "--columns", "score,log_odds").stdout)
    assert alone == {"score": rows[0]["score"], "log_odds": rows[0]["log_odds"]}
    sharper = json.loads(command("score", names[0], *asked[5:], "--json", "--aspect", "sharpness").stdout)
    assert sharper["method"] == f"sharpness beside {scale}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "vanilla"), "--method does not apply"),
        (("--seed", "3"), "--seed does not apply"),
        (("--aspect", "colour"), "--anchors, --aspect is quality, sharpness, noise"),
    ],
)
def test_score_refuses_what_has_no_say_beside_anchors(
    scale: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    got = command("score", write(tmp_path / "a", {"x": 50}), "--anchors", scale, "--model", "fake", *options)
    assert got.returncode == 2
    assert message in got.stderr


def test_the_command(scale: Path, tmp_path: Path) -> None:
    photos = write(tmp_path / "a", {"x": 50, "y": 130})
    asked = ("rank", photos, "--anchors", scale, "--model", "fake", "--json")
    both = {Path(row["path"]).stem: row for row in map(json.loads, command(*asked).stdout.splitlines())}
    alone = json.loads(command("rank", photos / "x.png", *asked[2:]).stdout)
    assert alone["strength"] == pytest.approx(both["x"]["strength"])
    assert (alone["rank"], alone["opponents"]) == (1, 3)
    got = command(*asked[:2], "--anchors", photos / "x.png", "--model", "fake")
    assert got.returncode == 2
    assert "2 to 50 different anchors, got 1" in got.stderr
