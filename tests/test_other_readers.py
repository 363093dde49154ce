"""What runs leave behind, read by DuckDB and pandas as it is."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from qdebias.inputs import open_images
from qdebias.integrations.ray.cluster import Worker
from qdebias.integrations.ray.folder import freeze, open_folder
from qdebias.runs.options import Options
from test_cli import rows, run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images, of which the last is none."""
    folder, noise = tmp_path / "photos", np.random.default_rng(3)
    folder.mkdir()
    for name in "abc":
        Image.fromarray(noise.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "d.png").write_text("no image")
    return folder


@pytest.fixture
def exported(photos: Path, tmp_path: Path) -> str:
    """The file that `export` writes from a run folder."""
    run("score", photos, "--model", "fake", "--run", tmp_path / "run")
    run("export", tmp_path / "run", "--out", tmp_path / "scores.parquet")
    return str(tmp_path / "scores.parquet")


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> str:
    """The files of a run on a cluster; the second holds nothing but a failure."""
    folder = open_folder(str(tmp_path / "out"))
    freeze(open_images([str(photos)]).pieces(), folder, chunk=3)
    worker = Worker(Options(model="fake", method="paper"), folder)
    assert [worker.score(chunk).failed for chunk in range(2)] == [0, 1]
    return str(tmp_path / "out" / "scores" / "*.parquet")


@pytest.mark.parametrize("files", ["exported", "shards"])
def test_duckdb_and_pandas_read_scores_errors_and_logits(
    files: str, photos: Path, request: pytest.FixtureRequest
) -> None:
    where = request.getfixturevalue(files)
    expected = rows(run("score", photos, "--model", "fake", "--json").stdout)
    columns = "path, score, error, method, good, weight, logits"
    found = duckdb.read_parquet(where).project(columns).order("path").fetchall()
    for (path, score, error, method, good, weight, logits), row in zip(found, expected, strict=True):
        assert (path, score, error, method) == (row["path"], row["score"], row["error"], "paper")
        assert (good, weight) == (row["good"], row["weight"])
        assert np.shape(logits) == ((0,) if error else (4, 2, 2))
    sound = duckdb.read_parquet(where).filter("error IS NULL").aggregate("count(*), avg(score)").fetchall()
    assert sound == [(3, pytest.approx(np.mean([row["score"] for row in expected[:3]])))]
    table = pd.read_parquet(Path(where).parent if "*" in where else where).sort_values("path")
    assert table["path"].tolist() == [row["path"] for row in expected]
    assert table["score"].iloc[:3].tolist() == [row["score"] for row in expected[:3]]
    assert table["score"].isna().tolist() == table["error"].notna().tolist() == [False, False, False, True]
    assert [list(weight) for weight in table["weight"]] == [row["weight"] for row in expected]


def test_duckdb_joins_the_lines_of_a_run_folder(exported: str, photos: Path) -> None:
    folder = Path(exported).parent / "run"
    images, answers = (
        duckdb.read_json(str(folder / f"{name}.jsonl")).set_alias(name) for name in ("images", "answers")
    )
    joined = images.join(answers, "answers.images[-1] = images.image").aggregate("path, count(*)").order("path")
    assert joined.fetchall() == [(str(photos / f"{name}.png"), 8) for name in "abc"]
