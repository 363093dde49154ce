"""What is written may be read and changed by whom the umask says, and by nobody else."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from test_cli import run


@pytest.fixture(params=[0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_no_file_is_open_to_more_than_the_umask_lets(umask: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    for number in range(12):
        pixels = noise.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    labels = "".join(f"photos/{number}.png,{number}\n" for number in range(12))
    (tmp_path / "labels.csv").write_text(f"img_path,gt_score\n{labels}")
    fake = ("--model", "fake", "--method", "vanilla")
    for words in (
        ("score", "photos", *fake, "--run", "run", "--out", "scores.csv"),
        ("score", "photos", *fake, "--out", "scores.jsonl"),
        ("score", "photos", *fake, "--out", "scores.parquet"),
        ("evaluate", "labels.csv", *fake, "--run", "evaluated"),
        ("report", "evaluated", "--out", "page.html"),
        ("export", "run", "--out", "exported.csv"),
        ("calibrate", "labels.csv", *fake, "--folds", 0, "--out", "map.json"),
        ("explain", "photos/0.png", *fake, "--out", "why.png"),
        ("degrade", "photos/0.png", "--out", "degraded"),
        ("filter", "photos", *fake, "--top", "50%", "--copy-to", "kept", "--out", "lists"),
        ("rank", "photos", "--model", "fake", "--out", "ranks.csv"),
        ("burst", "photos", "--model", "fake", "--out", "groups.csv", "--sheet", "sheet.png", "--copy-to", "best"),
    ):
        got = run(*words, cwd=tmp_path)
        assert got.returncode == 0, got.stderr
    written = [path for path in tmp_path.rglob("*") if "photos" not in path.parts]
    assert len(written) > 25
    for path in written:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & umask, f"{path}: {mode:o}"
        assert not mode & 0o111 or path.is_dir(), f"{path}: {mode:o}"
