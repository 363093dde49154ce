"""Rows leave as JSON Lines, CSV and Parquet."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.plan import Failure
from qdebias.runs.records import Record, columns_of, open_writer, record
from qdebias.runs.scorer import Scorer
from reference_data import skip_absent

COLUMNS = columns_of(Record, ("good", "poor"))


@pytest.fixture
def rows(photo: RgbImage) -> list[Record]:
    score = Scorer(backend=FakeBackend()).score(photo)
    failure = Failure(name="b.jpg", error="b.jpg: no such file")
    return [
        record('a "quoted", ünïcode.jpg', score, model="fake", method="paper", seed=0),
        record("b.jpg", failure, model="fake", method="paper", seed=0),
    ]


def write_all(rows: list[Record], path: Path) -> None:
    with open_writer(path, COLUMNS) as write:
        for row in rows:
            write(row)


def row_in_file(row: Record) -> dict[str, object]:
    return {"p_good": None, "p_poor": None, **json.loads(row.json())}


def test_a_failure_has_an_error_and_no_score(rows: list[Record]) -> None:
    scored, failed = (json.loads(row.json()) for row in rows)
    assert scored["error"] is None
    assert 0 <= scored["score"] <= 1
    assert len(scored["good"]) == len(scored["same"]) == len(scored["weight"]) == 4
    assert failed == {
        "path": "b.jpg", "score": None, "error": "b.jpg: no such file", "model": "fake", "method": "paper", "seed": 0,
        "good": [], "same": [], "weight": [], "spread": None, "log_odds": None, "deviation": None,
    }  # fmt: skip


def test_json_lines_round_trip(rows: list[Record], tmp_path: Path) -> None:
    write_all(rows, tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [row_in_file(row) for row in rows]


def test_csv_round_trip(rows: list[Record], tmp_path: Path) -> None:
    write_all(rows, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["path"] == rows[0].path
    assert float(first["score"]) == rows[0].score
    assert tuple(json.loads(first["good"])) == rows[0].good
    assert (second["score"], second["error"]) == ("", "b.jpg: no such file")


def test_parquet_round_trip(rows: list[Record], tmp_path: Path) -> None:
    write_all(rows * 700, tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert table == [row_in_file(row) for row in rows] * 700


def test_rows_are_in_the_file_as_soon_as_they_are_written(rows: list[Record], tmp_path: Path) -> None:
    with open_writer(tmp_path / "x.jsonl", COLUMNS) as write:
        write(rows[0])
        assert (tmp_path / "x.jsonl").read_text(encoding="utf-8") == rows[0].json() + "\n"


def test_a_broken_run_leaves_no_half_parquet(rows: list[Record], tmp_path: Path) -> None:
    def write_one_and_stop() -> None:
        with open_writer(tmp_path / "x.parquet") as write:
            write(rows[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_one_and_stop()
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffixes_and_unwritable_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"x\.xlsx: results are written as \.csv, \.jsonl, \.parquet"):
        open_writer(tmp_path / "x.xlsx").__enter__()
    for suffix in ("csv", "jsonl", "parquet"):
        with pytest.raises(SettingError, match="cannot be written"):
            open_writer(tmp_path / "nowhere" / f"x.{suffix}").__enter__()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_full_disk_is_one_clear_error(suffix: str, rows: list[Record], tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        skip_absent("no /dev/full, the device that is always full")
    path = tmp_path / f"x.{suffix}"
    path.symlink_to("/dev/full")
    with pytest.raises(SettingError, match=rf"x\.{suffix}: cannot be written \(No space left on device\)"):
        write_all(rows, path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_has_one_writer_at_a_time(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    row = record("a.png", Failure(name="a.png", error="why"), model="m", method="k", seed=0)
    for _ in range(2):
        with open_writer(path) as write:
            write(row)
            with pytest.raises(SettingError, match="is being written by another command"), open_writer(path):
                pass
            write(row)
    assert path.read_bytes().count(b"why") == 2 or pq.read_table(path).num_rows == 2
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
