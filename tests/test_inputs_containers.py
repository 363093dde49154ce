"""Images out of lists, tables, shards and data sets: each by its name, failures in their places."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import qdebias
from qdebias.backends.fake import FakeBackend
from qdebias.errors import ImageError, SettingError
from qdebias.image import load_image
from qdebias.inputs import addresses, open_images
from qdebias.inputs.datasets.readers import read_records
from qdebias.inputs.parquet import batches, page_sizes
from qdebias.runs.run import open_snapshot
from test_cli import rows, run


def png(number: int) -> bytes:
    """Return an image as a file, another one for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "png")
    return file.getvalue()


def score_of(data: bytes) -> float:
    return qdebias.score([load_image(Image.open(io.BytesIO(data)))], model=FakeBackend())[0].value


def write_shard(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def scores(*arguments: object, cwd: Path | None = None) -> Mapping[str, float | str]:
    """Return what the command line makes of the arguments: the score of each name, or its error."""
    got = rows(run("score", *arguments, "--model", "fake", "--json", cwd=cwd).stdout)
    return {str(row["path"]): row["score"] if row["error"] is None else row["error"] for row in got}  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
def test_a_shard_is_read_by_the_names_of_its_members(kind: str, tmp_path: Path) -> None:
    members = [("a/1.png", png(1)), ("a/1.json", b"{}"), ("a/2.PNG", png(2)), ("a/._1.png", b"")]
    shard = write_shard(tmp_path / f"x.tar{'.' * bool(kind)}{kind}", members, f"w:{kind}")
    assert scores(shard.name, cwd=tmp_path) == {
        f"{shard.name}!a/1.png": score_of(png(1)),
        f"{shard.name}!a/2.PNG": score_of(png(2)),
    }


def test_what_is_wrong_with_a_shard_is_a_row_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdebias.inputs.shards.MAX_BYTES", 10_000)
    members = [("1.png", png(1)), ("big.png", bytes(20_000)), ("1.png", png(2)), ("bad.jpg", b"Dear reader,")]
    whole = write_shard(tmp_path / "whole.tar", [*members, ("3.png", png(3))])
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:9000])
    (tmp_path / "none.tar").write_text("Dear reader,")
    write_shard(tmp_path / "notes.tar", [("1.txt", b"")])
    got = scores("*.tar", "gone.tar", cwd=tmp_path)
    errors = {name: str(value) for name, value in got.items() if isinstance(value, str)}
    assert got["whole.tar!1.png"] == got["cut.tar!1.png"] == score_of(png(1))
    assert got["whole.tar!3.png"] == score_of(png(3))
    assert len(got) == 11
    for name, why in {
        "whole.tar!big.png": "more than 0 MB",
        "whole.tar!bad.jpg": "is not an image",
        "cut.tar": "; 2 images before that were read",
        "none.tar": "is damaged",
        "notes.tar": "no image in this shard",
        "gone.tar": "no such file",
    }.items():
        assert errors[name].startswith(f"{name}: ")
        assert why in errors[name]
    (twice,) = (name for name in errors if name.startswith("whole.tar!1.png#"))
    assert "another member of this name came before" in errors[twice]


def test_a_list_names_images_from_its_own_folder(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(len(name)))
    (tmp_path / "list.txt").write_text(f"a.png\r\n\n{tmp_path / 'deep/b.png'}\ngone.png\na.png\n")
    got = scores(tmp_path / "list.txt", tmp_path / "a.png")
    assert got == {
        str(tmp_path / "a.png"): score_of(png(5)),
        str(tmp_path / "deep/b.png"): score_of(png(10)),
        str(tmp_path / "gone.png"): f"{tmp_path / 'gone.png'}: no such file",
    }


def test_a_csv_names_images_in_the_column_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("mos", "path", "other"), ("3", "a.png", "b.png"), ("4", "", "c.png")])
    assert scores("t.csv", cwd=tmp_path) == {"a.png": score_of(png(1)), "t.csv!1": "t.csv!1: names no image"}
    assert set(scores("t.csv", "--column", "other", "a.png", cwd=tmp_path)) == {"a.png", "b.png", "c.png"}
    missing = run("score", "t.csv", "--column", "nonsense", "--model", "fake", cwd=tmp_path)
    assert missing.returncode == 2
    assert "no column 'nonsense'; choose one of mos, path, other" in missing.stderr


CELLS = {
    "bytes": [png(1), png(2), None, b"Dear reader,"],
    "structures": [{"bytes": png(1), "path": "x"}, {"bytes": png(2), "path": None}, None, {"bytes": b"?", "path": ""}],
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_parquet_file_holds_images_in_its_cells(kind: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": CELLS[kind]}), tmp_path / "t.parquet", row_group_size=3)
    got = scores("t.parquet", cwd=tmp_path)
    assert [got[f"t.parquet!{row}"] for row in (0, 1)] == [score_of(png(1)), score_of(png(2))]
    assert got["t.parquet!2"] == "t.parquet!2: holds no image"
    assert "t.parquet!3: is not an image" in str(got["t.parquet!3"])
    assert open_images([str(tmp_path / "t.parquet")]).count() == 4


def test_a_parquet_file_names_images_and_so_the_results_of_one_run_start_another(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "b.png").write_text("")
    run("score", tmp_path, "--model", "fake", "--out", tmp_path / "scores.parquet")
    assert list(scores(tmp_path / "scores.parquet")) == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_a_damaged_parquet_file_is_one_row_and_one_of_numbers_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table({"image": [1, 2]}), tmp_path / "numbers.parquet")
    got = scores("a.png", "bad.parquet", "numbers.parquet", cwd=tmp_path)
    assert "is not a Parquet file, or is damaged" in str(got["bad.parquet"])
    assert "'image' holds int64, neither images nor names" in str(got["numbers.parquet"])


def test_a_data_set_on_disk_gives_its_rows(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image()})
    cells = {"image": [{"bytes": png(number), "path": None} for number in (1, 2)]}
    one = datasets.Dataset.from_dict(cells, features=features)
    datasets.DatasetDict(train=one, test=one.select([1])).save_to_disk(tmp_path / "both", num_proc=1)
    one.save_to_disk(tmp_path / "one", num_proc=1)
    assert scores("one", cwd=tmp_path) == {"one!0": score_of(png(1)), "one!1": score_of(png(2))}
    assert list(scores("both", cwd=tmp_path).values()) == [score_of(png(number)) for number in (1, 2, 2)]


def test_a_run_knows_members_by_their_names_and_tries_them_again(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.tar", [("1.png", png(1)), ("2.png", b"?")])
    pq.write_table(pa.table({"photo": [png(3)]}), tmp_path / "t.parquet")
    arguments = ("score", "x.tar", "t.parquet", "--column", "photo", "--model", "fake", "--json", "--run", "run")
    first, second = (run(*arguments, cwd=tmp_path) for _ in range(2))
    assert first.stdout == second.stdout
    assert "3 images were done before" in second.stderr
    with open_snapshot(tmp_path / "run") as snapshot:
        assert list(snapshot.index.paths()) == [
            str(tmp_path / name) for name in ("t.parquet!0", "x.tar!1.png", "x.tar!2.png")
        ]
    assert "x.tar!2.png: is not an image" in run("retry", "run", cwd=tmp_path).stderr
    write_shard(tmp_path / "x.tar", [("1.png", png(1)), ("2.png", png(2))])
    assert "1 images tried again, 0 failed" in run("retry", "run", cwd=tmp_path).stderr
    found = json.loads(run("status", "run", "--json", cwd=tmp_path).stdout)
    assert [(one["done"], one["failed"], one["left"]) for one in found["methods"]] == [(3, 0, 0)]


def test_other_commands_say_that_they_take_files(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.tar", [("1.png", png(1))])
    got = run("degrade", tmp_path / "x.tar")
    assert got.returncode == 2
    assert "only `score` and `check` take shards" in got.stderr


def test_a_fetch_that_is_too_large_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/a.png", png(1))
    assert open_images(["memory://a.png"]).count() == 1
    assert scores("memory://a.png") == {"memory://a.png": score_of(png(1))}
    monkeypatch.setattr(addresses, "MAX_BYTES", 1000)
    with pytest.raises(ImageError, match=r"memory://a\.png: more than 0 MB"):
        load_image(next(iter(open_images(["memory://a.png"]))))


def test_an_address_of_no_known_kind_is_the_users_mistake() -> None:
    with pytest.raises(SettingError, match=r"nonsense://x\.png: "):
        load_image(next(iter(open_images(["nonsense://x.png"]))))


def test_a_parquet_file_that_grows_out_of_proportion_is_refused_by_its_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdebias.inputs.parquet.MAX_BYTES", 100_000)
    same = pa.table({"image": [bytes(90_000)] * 2, "path": ["x" * 9000] * 2})
    pq.write_table(same, tmp_path / "same.parquet", compression="zstd")
    other = pa.table({"image": [bytes(90_000 + n) for n in range(4)]})
    pq.write_table(other, tmp_path / "t.parquet", compression="zstd")
    (tmp_path / "a.png").write_bytes(png(1))
    images = list(open_images([str(tmp_path / "a.png"), str(tmp_path / "t.parquet")]))[1:]
    assert [image.name[-2:] for image in images] == ["!0", "!1", "!2", "!3"]  # type: ignore[union-attr]
    with pytest.raises(ImageError, match=r"t\.parquet!3: column 'image' grows from 0\.0 to 0 MB when it is unpacked"):
        load_image(images[3])
    for image in open_images([str(tmp_path / "same.parquet")]):  # twice the same picture takes one time the memory
        with pytest.raises(ImageError, match="is not an image"):
            load_image(image)
    names = list(open_images([str(tmp_path / "a.png"), str(tmp_path / "same.parquet")], column="path"))[1:]
    assert ["9,000 characters, too long" in image.error for image in names] == [True, True]  # type: ignore[union-attr]


def tell_less(path: Path) -> None:
    """Have the metadata of a Parquet file of one column say that it takes 100 bytes."""

    def number(value: int, length: int) -> bytes:
        """As Thrift writes it; zeros at the front make it longer."""
        parts = [(2 * value >> 7 * place) & 0x7F for place in range(length)]
        return bytes([part | 0x80 for part in parts[:-1]] + parts[-1:])

    true = pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size
    data, footer = path.read_bytes(), path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[-8:-4], "little")
    assert data.count(number(true, 3), footer) > 0
    path.write_bytes(data[:footer] + data[footer:].replace(number(true, 3), number(100, 3)))
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == 100


@pytest.mark.parametrize("kind", ["images", "names", "labels"])
@pytest.mark.parametrize("address", ["{path}", "memory://lying/t.parquet"])
def test_a_parquet_file_that_tells_less_than_its_pages_hold_is_refused(
    address: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is taken for what the header of a page says, not for what the metadata of the file says."""
    import fsspec

    monkeypatch.setattr("qdebias.inputs.parquet.MAX_BYTES", 100_000)
    path, name = tmp_path / "t.parquet", "image" if kind == "images" else "path"
    cells = [bytes([65 + n]) * 90_000 for n in range(4)]
    table = pa.table({name: cells if kind == "images" else [cell.decode() for cell in cells]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    tell_less(path)
    fsspec.filesystem("memory").pipe_file("/lying/t.parquet", path.read_bytes())
    words = rf"t\.parquet.*: column '{name}' grows from 0\.0 to 0 MB when it is unpacked"
    if kind == "labels":
        with pytest.raises(SettingError, match=words):
            read_records(path)
        return
    with pytest.raises(SettingError, match=words):
        open_images([address.format(path=path)])


def test_texts_that_have_nearly_all_in_common_are_read_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 3,000 such names of a million characters, a file of 475 bytes, pyarrow makes 6 GB at once."""
    monkeypatch.setattr("qdebias.inputs.parquet.BATCH", 1_000_000)
    monkeypatch.setattr("qdebias.inputs.datasets.readers.MAX_BYTES", 2_000_000)
    path, names = tmp_path / "t.parquet", ["d" * 7000 + f"{n}.png" for n in range(3000)]
    encoding = {"use_dictionary": False, "column_encoding": {"path": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    pq.write_table(pa.table({"path": names}), path, **encoding)
    with path.open("rb") as stream:
        read = list(batches(str(path), pq.ParquetFile(stream), ["path"]))
    assert max(batch.nbytes for batch in read) < 1_000_000
    assert [name for batch in read for name in batch.column(0).to_pylist()] == names
    assert [Path(str(image)).name for image in open_images([str(path)])] == names
    with pytest.raises(SettingError, match="would fill more memory than a table should"):
        read_records(path)


def test_the_pages_of_parquet_files_of_every_kind_are_measured(tmp_path: Path) -> None:
    rows = [png(n) for n in range(3)] * 40
    path = tmp_path / "t.parquet"
    for version in ("1.0", "2.0"):
        for compression in ("none", "snappy", "gzip", "zstd"):
            for dictionary in (False, True):
                pq.write_table(
                    pa.table({"image": rows}),
                    path,
                    compression=compression,
                    data_page_version=version,
                    use_dictionary=dictionary,
                    data_page_size=300,
                    write_page_checksum=True,
                )
                chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
                with path.open("rb") as stream:
                    measured = sum(page_sizes(stream, chunk))
                assert 0 < measured <= chunk.total_uncompressed_size < measured + 100 * len(rows)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_header_of_a_member_has_a_limit(kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdebias.inputs.shards.MOST_HEADER", 2000)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=kind) as archive:
        for name in ("1.png", "d/" * 500 + "2.png", "d/" * 2000 + "3.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(1))
            archive.addfile(info, io.BytesIO(png(1)))
    got = list(open_images([str(tmp_path / "x.tar.gz")]))
    assert len(got) == 3
    with pytest.raises(ImageError, match=r"is damaged \(a header of 4,.* bytes, of at most 2,000\); 2 images before"):
        load_image(got[2])


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_not_unpacked_by_what_knows_no_limit(kind: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("1.png", png(1), compress_type=kind)
        archive.writestr("2.png", png(2), compress_type=zipfile.ZIP_DEFLATED)
    got = scores("x.zip", cwd=tmp_path)
    assert "1.png: is packed by bzip2 or LZMA; pack images" in str(got["x.zip!1.png"])
    assert got["x.zip!2.png"] == score_of(png(2))
