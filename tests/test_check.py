"""The gate for pipelines: exit codes, and who is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdebias.metrics.calibration import Origin, calibrate, save_calibration
from test_cli import bad_folder, folder, run  # noqa: F401  (fixtures)

BRIGHT = ("--model", "qdebias_example.sharpness:Sharpness", "--method", "vanilla")


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "examples" / "plugin")


def test_every_image_is_good_enough(folder: Path) -> None:  # noqa: F811
    got = run("check", folder, "--min", "0.1", *BRIGHT)
    assert (got.returncode, got.stdout) == (0, "")
    assert got.stderr == "2 images, 0 below 0.1, 0 failed\n"


@pytest.mark.parametrize("stored", [False, True])
def test_images_below_are_named_with_their_scores(folder: Path, stored: bool) -> None:  # noqa: F811
    keep = ("--run", folder / "run") if stored else ()
    got = run("check", "a.png", "c.png", "--min", "0.99", *BRIGHT, *keep, cwd=folder)
    scores = run("score", "a.png", "c.png", *BRIGHT, cwd=folder)
    assert got.returncode == 1
    assert got.stdout == scores.stdout
    assert got.stderr.endswith("2 images, 2 below 0.99, 0 failed\n")


def test_an_image_that_cannot_be_scored_is_no_pass(bad_folder: Path) -> None:  # noqa: F811
    got = run("check", bad_folder, "--min", "0", *BRIGHT)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr.count("failed: ") == 6
    assert "letter.jpg: is not an image" in got.stderr


def test_unreadable_images_fail_unless_they_may_be_ignored(folder: Path) -> None:  # noqa: F811
    (folder / "d.jxl").write_bytes(b"\xff\x0a and no more")
    (folder / "e.heic").write_bytes(b"\0\0\0\x18ftypheic and no more")
    (folder / "LICENSE").write_text("no image")
    got = run("check", folder, "--min", "0.1", *BRIGHT)
    assert got.returncode == 1
    assert "4 images, 0 below 0.1, 2 failed" in got.stderr
    assert f"left out, without a suffix and no image: 1 file ({folder / 'LICENSE'})" in got.stderr
    ignoring = run("check", folder, "--min", "0.1", *BRIGHT, "--ignore-unreadable")
    assert (ignoring.returncode, ignoring.stderr) == (0, got.stderr)
    assert run("check", folder, "--min", "0.99", *BRIGHT, "--ignore-unreadable").returncode == 1
    nothing = run("check", folder / "d.jxl", "--min", "0.1", *BRIGHT, "--ignore-unreadable")
    assert nothing.returncode == 2
    assert "no image could be scored, so nothing was checked" in nothing.stderr


def test_pictures_of_formats_that_are_not_decoded_are_no_pass(folder: Path) -> None:  # noqa: F811
    """A camera writes IMG_1.CR2 beside IMG_1.JPG; neither is passed over in silence."""
    (folder / "IMG_1.CR2").write_bytes(b"raw")
    (folder / "scan.jp2").write_bytes(b"JPEG 2000")
    (folder / "notes.md").write_text("no picture")
    got = run("check", folder, "--min", "0.1", *BRIGHT)
    assert got.returncode == 1
    assert "2 images, 0 below 0.1, 0 failed" in got.stderr
    first, second = folder / "IMG_1.CR2", folder / "scan.jp2"
    assert f"left out, of formats that are not decoded: 2 files ({first}, {second})" in got.stderr
    assert run("check", folder, "--min", "0.1", *BRIGHT, "--ignore-unreadable").returncode == 0
    for name in ("a.png", "c.png"):
        (folder / name).unlink()
    nothing = run("check", folder, "--min", "0.1", *BRIGHT)
    assert nothing.returncode == 2
    assert f"no image in this folder; left out, of formats that are not decoded: 2 files ({first}" in nothing.stderr


@pytest.mark.parametrize("arguments", [("nowhere", "--min", "0.5"), (".", "--min", "2"), (".", "--method", "best")])
def test_what_cannot_be_checked_is_the_users_mistake(arguments: tuple[str, ...], folder: Path) -> None:  # noqa: F811
    assert run("check", *arguments, "--model", "fake", cwd=folder).returncode == 2


def scale(path: Path, *, increasing: bool = True, folds: int = 5) -> Path:
    """A calibration of the example's scores onto 1 to 5, about 0.8 to either side."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 200)
    mos = (1 + 4 * scores if increasing else 5 - 4 * scores) + rng.normal(0, 0.5, 200)
    origin = Origin(model=BRIGHT[1], method="vanilla")
    save_calibration(calibrate(scores, mos, origin=origin, increasing=increasing, folds=folds), path)
    return path


def test_the_lower_end_of_the_interval_can_be_asked_for(folder: Path) -> None:  # noqa: F811
    mapped = scale(folder / "mos.json")
    asked = ("a.png", "c.png", *BRIGHT, "--calibration", mapped)
    rows = [json.loads(line) for line in run("score", *asked, "--json", cwd=folder).stdout.splitlines()]
    least = min(row["mos"] for row in rows) - 0.01
    assert all(row["mos_low"] < least for row in rows if row["mos"] < least + 0.5)
    assert run("check", *asked, "--min", least, "--by", "mos", cwd=folder).returncode == 0
    below = [row for row in rows if row["mos_low"] < least]
    got = run("check", *asked, "--min", least, "--by", "mos_low", cwd=folder)
    assert got.returncode == 1
    assert got.stdout == "".join(f"{row['mos_low']:.4f}\t{row['path']}\n" for row in below)


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({}, ("--by", "mos_high"), "--by is score, or with --calibration or a fit mos or mos_low"),
        ({}, ("--by", "score"), "--by is score, or with --calibration or a fit mos or mos_low"),
        ({"increasing": False}, ("--by", "mos"), "lower is better on the scale of"),
        ({"folds": 0}, ("--by", "mos_low"), "holds no interval"),
    ],
)
def test_a_limit_that_cannot_be_checked_is_refused(
    settings: dict[str, Any],
    arguments: tuple[str, ...],
    message: str,
    folder: Path,  # noqa: F811
) -> None:
    got = run("check", folder, *BRIGHT, "--calibration", scale(folder / "mos.json", **settings), *arguments)
    assert got.returncode == 2
    assert message in got.stderr


def test_the_hook_names_a_command_that_exists() -> None:
    hook = (Path(__file__).resolve().parent.parent / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    command = next(line.split(": ")[1].split() for line in hook.splitlines() if "entry:" in line)
    assert command[0] == "qdebias"
    assert run(*command[1:], "--help").returncode == 0
