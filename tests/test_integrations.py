"""Scores in the forms that other libraries expect are the scores of qdebias."""

import io
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from PIL import Image

import qdebias
from qdebias.errors import ImageError, SettingError
from qdebias.image import RgbImage, to_images
from qdebias.integrations.datasets import AddScores
from qdebias.integrations.frames import with_scores
from qdebias.integrations.metric import create_metric
from qdebias.integrations.torchmetrics import ImageQuality

FAKE: dict[str, Any] = {"model": "fake", "method": "vanilla"}


def batch_of(*images: RgbImage) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())


def expected(*images: Any) -> list[float]:
    return [score.value for score in qdebias.score(images, **FAKE)]


@pytest.fixture
def images(photo: RgbImage) -> tuple[RgbImage, ...]:
    return photo, photo[::-1], photo[:, ::-1]


@pytest.fixture
def paths(images: tuple[RgbImage, ...], tmp_path: Path) -> list[str]:
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "letter.png").write_text("Dear reader,")
    return [str(tmp_path / name) for name in ("0.png", "letter.png", "1.png")]


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
def test_tensors_become_the_images_they_were_made_from(kind: torch.dtype, images: tuple[RgbImage, ...]) -> None:
    batch = batch_of(*images) if kind is torch.uint8 else batch_of(*images).to(kind) / 255
    for got, want in zip(to_images(batch), images, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(to_images(batch[0])[0], images[0])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(2, 1, 64, 64), r"shape \(2, 1, 64, 64\)"),
        (torch.zeros(64, 64), "holds no images"),
        (torch.full((1, 3, 64, 64), 255.0), r"\[255, 255\] and not in \[0, 1\]"),
        (torch.full((1, 3, 64, 64), -0.1), "undo the normalisation"),
        (torch.full((1, 3, 64, 64), torch.nan), "and not in"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.int64), "torch.int64; give uint8"),
    ],
)
def test_tensors_that_are_no_images_are_refused(tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        to_images(tensor)


def test_metric_is_the_mean_over_all_batches(images: tuple[RgbImage, ...]) -> None:
    metric = ImageQuality(**FAKE)
    metric.update(batch_of(*images[:2]))
    metric.update(batch_of(images[2]))
    assert metric.compute().item() == pytest.approx(np.mean(expected(*images)), abs=1e-12)
    assert metric(batch_of(images[2])).item() == pytest.approx(expected(images[2])[0], abs=1e-12)
    metric.reset()
    assert metric.count == 0


def test_metric_can_be_copied_and_pickled_without_its_model(images: tuple[RgbImage, ...]) -> None:
    metric = ImageQuality(**FAKE)
    metric.update(batch_of(images[0]))
    for copy in (pickle.loads(pickle.dumps(metric)), deepcopy(metric), metric.clone()):  # noqa: S301
        copy.update(batch_of(images[1]))
        assert copy.compute().item() == pytest.approx(np.mean(expected(*images[:2])), abs=1e-12)


def test_metric_counts_nothing_of_a_batch_that_fails(images: tuple[RgbImage, ...]) -> None:
    metric = ImageQuality(**FAKE)
    metric.update(batch_of(images[0]))
    with pytest.raises(ImageError):
        metric.update(torch.zeros(2, 3, 8, 8))
    assert metric.compute().item() == pytest.approx(expected(images[0])[0], abs=1e-12)


def test_metric_in_the_manner_of_pyiqa(images: tuple[RgbImage, ...], paths: list[str]) -> None:
    metric = create_metric("vanilla", model="fake")
    assert (metric.lower_better, metric.score_range, metric.metric_mode) == (False, "0, 1", "NR")
    got = metric(batch_of(*images) / 255)
    assert (got.shape, got.dtype) == ((3, 1), torch.float64)
    np.testing.assert_array_equal(got[:, 0], expected(*images))
    for one in (paths[0], Image.open(paths[0]), images[0]):
        assert metric(one).item() == expected(images[0])[0]
    with pytest.raises(ImageError):
        metric(paths[1])


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_table_gets_a_score_or_an_error_in_each_row(make: Any, images: tuple[RgbImage, ...], paths: list[str]) -> None:
    table = make({"path": paths, "year": [2001, 2002, 2003]})
    made = with_scores(table, **FAKE)
    assert type(made) is type(table)
    rows = pl.DataFrame(made)
    assert rows.columns == ["path", "year", "score", "error"]
    assert rows["score"].to_list() == [expected(images[0])[0], None, expected(images[1])[0]]
    assert [error is None for error in rows["error"].to_list()] == [True, False, True]
    assert "letter.png: is not an image" in rows["error"][1]


COLUMNS = "score,error,p,deviation,log_odds"


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_table_gets_the_columns_that_are_named(make: Any, images: tuple[RgbImage, ...], paths: list[str]) -> None:
    rows = pl.DataFrame(with_scores(make({"path": paths}), columns=COLUMNS, **FAKE)).to_dicts()
    assert list(rows[0]) == ["path", "score", "error", "p_good", "p_poor", "deviation", "log_odds"]
    assert rows[1] | {"path": "", "error": ""} == dict.fromkeys(rows[1], None) | {"path": "", "error": ""}
    for row, score in zip(rows[::2], qdebias.score(images[:2], **FAKE), strict=True):
        assert (row["p_good"], row["p_poor"]) == tuple(score.probabilities.values())
        assert (row["score"], row["deviation"], row["log_odds"]) == (score.value, score.deviation, score.log_odds)
        assert row["p_good"] + row["p_poor"] == pytest.approx(1)


def test_columns_that_there_are_none_of_are_refused(paths: list[str]) -> None:
    with pytest.raises(SettingError, match=r"no column 'p_bad'; there are score, error, .*p_good, p_poor"):
        with_scores(pl.DataFrame({"path": paths}), columns="score,p_bad", **FAKE)
    with pytest.raises(SettingError, match="must not have score or p_good"):
        with_scores(pl.DataFrame({"path": paths, "p_good": paths}), columns="score,p_good", **FAKE)


def test_map_adds_the_columns_that_are_named(images: tuple[RgbImage, ...], paths: list[str]) -> None:
    held = datasets.Dataset.from_dict({"file": paths})
    levels = {"model": "fake", "method": "vanilla+levels5"}
    scored = held.map(AddScores(column="file", columns="deviation,p", **levels), batched=True)
    assert scored.column_names[1:] == [
        "deviation",
        *(f"p_{word}" for word in ("excellent", "good", "fair", "poor", "bad")),
    ]
    (score,) = qdebias.score([images[1]], **levels)
    assert scored[2]["deviation"] == score.deviation
    assert scored[2]["p_excellent"] == score.probabilities["excellent"]
    assert scored[1]["deviation"] is None


def test_index_of_pandas_stays(paths: list[str]) -> None:
    table = pd.DataFrame({"photo": paths}, index=["c", "a", "b"])
    made = with_scores(table, column="photo", **FAKE)
    assert list(made.index) == ["c", "a", "b"]
    assert np.isnan(made.loc["a", "score"])


@pytest.mark.parametrize("column", ["photo", "score"])
def test_table_without_the_column_is_refused(column: str) -> None:
    with pytest.raises(SettingError, match="it has path, score"):
        with_scores(pl.DataFrame({"path": ["a.png"], "score": [1.0]}), column=column)


def test_map_over_a_dataset(images: tuple[RgbImage, ...], paths: list[str]) -> None:
    pictures = datasets.Dataset.from_dict({"image": [paths[0], paths[2]]}).cast_column("image", datasets.Image())
    scored = pictures.map(AddScores(**FAKE), batched=True, batch_size=1)
    assert scored["score"][:] == expected(*images[:2])
    named = datasets.Dataset.from_dict({"file": paths}).map(AddScores(column="file", **FAKE), batched=True)
    assert named["score"][1] is None
    assert "letter.png" in named["error"][1]


def test_map_goes_on_after_bytes_that_are_no_image(images: tuple[RgbImage, ...], paths: list[str]) -> None:
    cells = [{"bytes": Path(paths[0]).read_bytes(), "path": None}, {"bytes": b"Dear reader,", "path": None}, None]
    features = datasets.Features({"image": datasets.Image()})
    scored = datasets.Dataset.from_dict({"image": cells}, features=features).map(AddScores(**FAKE), batched=True)
    assert scored["score"][:] == [*expected(images[0]), None, None]
    assert scored["error"][0] is None
    assert ["image" in error for error in scored["error"][1:]] == [True, True]


def test_map_leaves_the_stored_bytes_of_images_alone(images: tuple[RgbImage, ...]) -> None:
    file = io.BytesIO()
    Image.fromarray(images[0]).save(file, "JPEG", quality=95)
    features = datasets.Features({"image": datasets.Image()})
    held = datasets.Dataset.from_dict({"image": [{"bytes": file.getvalue(), "path": None}]}, features=features)
    scored = held.map(AddScores(**FAKE), batched=True)
    assert scored["score"][:] == expected(np.asarray(Image.open(file)))
    assert scored.cast_column("image", datasets.Image(decode=False))[0]["image"]["bytes"] == file.getvalue()
