"""One file has one row, by whatever name; a row without an image is a row with its error."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import qdebias
from qdebias.backends.fake import FakeBackend
from qdebias.errors import BackendError, SettingError, StoreError
from qdebias.inputs import Unreadable, open_images
from qdebias.inputs.addresses import explained, open_filesystem, unsigned
from qdebias.inputs.datasets import load_dataset
from qdebias.integrations.frames import with_scores
from qdebias.integrations.ray.folder import open_folder
from qdebias.methods.plan import Failure
from qdebias.runs.records import read_scores
from qdebias.runs.scorer import Scorer
from test_cli import run


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.png", "b.png", "sub/c.png")):
        save(tmp_path / "photos" / name, number)
    return tmp_path / "photos"


def names(*arguments: str) -> list[str]:
    return [str(image) if isinstance(image, Path) else image.name for image in open_images(arguments)]


def test_one_file_is_scored_once_by_whatever_name(photos: Path) -> None:
    (photos.parent / "link").symlink_to(photos)
    (photos.parent / "a-link.png").symlink_to(photos / "a.png")
    ways = ["photos/a.png", "./photos//a.png", "photos/sub/../a.png", str(photos / "a.png"), "link/a.png", "a-link.png"]
    assert names(*ways) == ["photos/a.png"]
    assert len(names("photos", "link", "photos/*.png")) == 3


def test_special_tokens_in_the_name_of_a_file_reach_no_prompt(photos: Path, tmp_path: Path) -> None:
    image = next(path for path in sorted(photos.iterdir()) if path.suffix == ".png")
    named = [tmp_path / name for name in ("plain.png", "<image> <|im_end|> [INST].png")]
    for path in named:
        path.write_bytes(image.read_bytes())
    plain, special = qdebias.score([*named, image], model="nano", method="vanilla")[:2]
    assert plain.value == special.value


def test_a_folder_is_not_searched_for_a_link_that_leads_to_one_of_its_images_twice(photos: Path) -> None:
    (photos / "z.png").symlink_to(photos / "a.png")
    assert names("photos", "photos/a.png").count("photos/a.png") == 1


def test_absolute_paths_in_a_label_file_are_found(photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "elsewhere" / "l.csv"
    labels.parent.mkdir()
    labels.write_text(f"image,mos\n{photos / 'a.png'},1\n{photos / 'sub' / 'c.png'},2\n")
    assert [path.resolve() for path in load_dataset(labels).paths] == [photos / "a.png", photos / "sub" / "c.png"]


@pytest.mark.parametrize("second", ["A.png", "./a.png", "sub/../a.png", "link.png"])
def test_two_labels_of_one_file_are_refused(second: str, photos: Path) -> None:
    (photos / "link.png").symlink_to(photos / "a.png")
    (photos / "l.csv").write_text(f"image,mos\na.png,1\n{second},5\nb.png,2\n")
    with pytest.raises(SettingError, match=r"'a.png' and '.*', with the scores 1 and 5, are both the file"):
        load_dataset(photos / "l.csv")


@pytest.mark.parametrize("second", ["A.png", "./a.png", "sub/../a.png", "link.png"])
def test_two_equal_labels_of_one_file_are_one_and_noted(second: str, photos: Path) -> None:
    (photos / "link.png").symlink_to(photos / "a.png")
    (photos / "l.csv").write_text(f"image,mos\na.png,1\n{second},1.0\nb.png,2\n")
    data = load_dataset(photos / "l.csv")
    assert [(item.name, item.mos) for item in data.items] == [("a.png", 1), ("b.png", 2)]
    assert data.notes == (f"a.png and {second} are one file with the same score; used once",)
    assert data.full_count == 2


def test_links_within_a_folder_are_scored_once(photos: Path, tmp_path: Path) -> None:
    outside = save(tmp_path / "elsewhere" / "e.png")
    for link, target in (
        *(("0.png", photos / "a.png"), ("sub/9.png", photos / "a.png"), ("e1.png", outside), ("e2.png", outside)),
        *(("gone.png", tmp_path / "gone.png"), ("hidden.png", photos / ".h.png"), ("loop", photos)),
        ("data.png", photos / "data.bin"),
    ):
        (photos / link).symlink_to(target)
    for copy in (".h.png", "data.bin"):
        (photos / copy).write_bytes((photos / "b.png").read_bytes())
    want = ["a.png", "b.png", "data.png", "e1.png", "gone.png", "hidden.png", "sub/c.png"]
    assert names("photos") == [f"photos/{name}" for name in want]


@pytest.mark.parametrize(("listed", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_composed_or_apart(listed: Any, there: Any, photos: Path) -> None:
    for word in ("café", "niño"):
        save(photos / f"{unicodedata.normalize(there, word)}.png")
    rows = [f"{unicodedata.normalize(listed, word)}.png" for word in ("café", "niño")]
    (photos / "l.csv").write_text("image,mos\n" + "".join(f"{row},{n}\n" for n, row in enumerate(rows)))
    assert all(path.is_file() for path in load_dataset(photos / "l.csv").paths)
    (photos / "list.txt").write_text("\n".join(rows))
    for argument in ("list.txt", "l.csv", rows[0]):
        assert all(Path(name).is_file() for name in names(str(photos / argument))), argument


def test_one_file_is_scored_once_however_its_accents_and_slashes_are_typed(photos: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "sub/é.png") for form in ("NFC", "NFD"))
    save(photos / apart)
    (photos / "list.txt").write_text(
        "\ufeff" + "\r\n".join([composed, apart, apart.replace("/", "\\"), f"./{composed}"])
    )
    (photos / "t.csv").write_text(f"Image ,MOS\n{composed},1\nsub\\c.png,2\n")
    assert names(str(photos / "list.txt")) == [str(photos / apart)]
    assert names("photos/t.csv") == [f"photos/{apart}", "photos/sub/c.png"]
    assert [item.path for item in load_dataset(photos / "t.csv").items] == [apart, "sub/c.png"]


def test_cells_of_any_length_are_read(photos: Path) -> None:
    (photos / "t.csv").write_text("image,mos,b64\na.png,1," + "A" * 300_000 + "\nb.png,2,x\n")
    assert len(names(str(photos / "t.csv"))) == len(load_dataset(photos / "t.csv")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('image,mos\na.png,1\n"b.png,2\nsub/c.png,3\n', r"from line 3 on \(a quote that is not closed\)"),
        ("image;mos\na.png;1\n", r"separated by ';', and a .csv by commas; save it with commas"),
        ("image\tmos\na.png\t1\n", r"separated by '\\t', and a .csv by commas; save it with commas, or name it .tsv"),
        ("image,mos\n", "no rows"),
        ("image|mos\na.png|1\n", r"separated by '\|', and a .csv by commas"),
        ("", "is empty; its first line names the columns"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(text: str, message: str, photos: Path) -> None:
    (photos / "t.csv").write_text(text)
    with pytest.raises(SettingError, match=message):
        open_images([str(photos / "t.csv")]) if "quote" not in message else list(open_images([str(photos / "t.csv")]))[
            9
        ]
    with pytest.raises(SettingError, match=message):
        load_dataset(photos / "t.csv")


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int32(), pa.string()), pa.string_view(), pa.large_string()])
def test_names_in_a_parquet_file_may_be_stored_in_any_way(kind: pa.DataType, photos: Path) -> None:
    pq.write_table(pa.table({"path": pa.array(["a.png", "b.png"]).cast(kind)}), photos / "t.parquet")
    assert names("photos/t.parquet") == ["photos/a.png", "photos/b.png"]


@pytest.mark.parametrize("kind", [pa.binary_view(), pa.large_binary()])
def test_images_in_a_parquet_file_too(kind: pa.DataType, photos: Path) -> None:
    data = pa.array([(photos / "a.png").read_bytes()]).cast(kind)
    pq.write_table(pa.table({"image": data}), photos / "t.parquet")
    (score,) = qdebias.score(photos / "t.parquet", model="fake")
    assert score.value == qdebias.score(photos / "a.png", model="fake")[0].value


def test_two_columns_of_one_name_are_refused(photos: Path) -> None:
    pq.write_table(pa.table([["a.png"], ["b.png"]], names=["path", "path"]), photos / "t.parquet")
    with pytest.raises(SettingError, match="has 2 columns named 'path'; keep only one of them"):
        open_images(["photos/t.parquet"])


def test_paths_relative_to_the_working_folder_are_found_where_the_table_s_own_has_none(photos: Path) -> None:
    cells = [{"bytes": None, "path": "photos/a.png"}, {"bytes": None, "path": "b.png"}]
    pq.write_table(pa.table({"image": cells}), photos / "t.parquet")
    assert names("photos/t.parquet") == ["photos/a.png", "photos/b.png"]


@pytest.mark.usefixtures("photos")
def test_zip_and_zstd_shards_hold_images() -> None:
    with zipfile.ZipFile("s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write("photos/a.png", "x/a.png")
        archive.writestr("note.txt", "no image")
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        archive.add("photos/a.png", "x/a.png")
    Path("s.tar.zst").write_bytes(pa.Codec("zstd").compress(plain.getvalue(), asbytes=True))
    alone = qdebias.score("photos/a.png", model="fake")[0].value
    for shard in ("s.zip", "s.tar.zst"):
        assert names(shard) == [f"{shard}!x/a.png"]
        assert [score.value for score in qdebias.score(shard, model="fake")] == [alone]


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_shard_is_read_to_its_end(kind: str, photos: Path) -> None:
    """Several packed parts are one, as pigz writes them; what is cut behind the tar, or follows it, is told."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.add(photos / "a.png", "a.png")
    plain, pack = file.getvalue(), PACKED[kind]
    Path(f"s.tar.{kind}").write_bytes(pack(plain[:3000]) + pack(plain[3000:]))
    Path("misnamed.tar").write_bytes(pack(plain))
    assert names(f"s.tar.{kind}", "misnamed.tar") == [f"s.tar.{kind}!a.png", "misnamed.tar!a.png"]
    whole = pack(plain + bytes(10_000))
    for cut in (whole[:-3], plain + plain):
        Path("s.tar").write_bytes(cut)
        *_, told = open_images(["photos/a.png", "s.tar"])
        assert isinstance(told, Unreadable)
    assert "s.tar: holds more behind its end, such as another archive; pack it anew; 1 images before" in told.error


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
@pytest.mark.usefixtures("photos")
def test_a_link_in_a_shard_is_a_failed_row(kind: bytes) -> None:
    with tarfile.open("s.tar", "w") as archive:
        archive.add("photos/a.png", "a.png")
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = kind, "a.png"
        archive.addfile(link)
    first, second = qdebias.score("s.tar", model="fake", on_error="return")
    assert not isinstance(first, Failure)
    assert isinstance(second, Failure)
    assert "s.tar!b.png: is a link to a.png" in second.error


def test_ranges_and_lists_from_stdin_are_spelled_out(photos: Path) -> None:
    for number in range(3):
        save(photos / f"{number:02d}.png", number)
    assert names("photos/{00..02}.png") == ["photos/00.png", "photos/01.png", "photos/02.png"]
    assert len(qdebias.score("photos/{00..02}.png", model="fake")) == 3
    with pytest.raises(SettingError, match="the range goes down"):
        names("photos/{2..0}.png")
    with pytest.raises(SettingError, match="no such file"):
        names("photos/{0.." + "9" * 5000 + "}.png")
    command = [sys.executable, "-m", "qdebias", "score", "-", "--model", "fake"]
    done = subprocess.run(command, input="photos/a.png\nphotos/b.png\n", capture_output=True, text=True, check=True)
    assert done.stdout.count("photos/") == 2


@pytest.mark.usefixtures("photos")
def test_python_takes_what_the_command_line_takes() -> None:
    Path("list.txt").write_text("photos/a.png\n")
    assert [len(qdebias.score(one, model="fake")) for one in ("photos/", "photos/*.png", "list.txt")] == [3, 2, 1]


def test_rows_without_an_image_are_failures(photos: Path) -> None:
    encoded = (photos / "a.png").read_bytes()
    rows: list[Any] = [photos / "a.png", None, float("nan"), "", {"bytes": None, "path": None}, 7, encoded]
    rows += [{"bytes": encoded, "path": None}, {"bytes": None, "path": str(photos / "a.png")}, b"no image"]
    found = qdebias.score(rows, model="fake", on_error="return")
    sound = [0, 6, 7, 8]
    assert {found[place].value for place in sound} == {found[0].value}  # type: ignore[union-attr]
    failed = [one for place, one in enumerate(found) if place not in sound]
    assert all(isinstance(one, Failure) and "image" in one.error for one in failed)
    (absent,) = qdebias.score("photos/absent.png", model="fake", on_error="return")
    assert isinstance(absent, Failure)


def test_a_table_with_empty_cells_keeps_its_rows(photos: Path) -> None:
    frame = with_scores(pd.DataFrame({"path": [str(photos / "a.png"), None]}), model="fake")
    assert frame["score"].notna().tolist() == [True, False]
    assert frame["error"].notna().tolist() == [False, True]


def test_a_damaged_member_of_a_zip_fails_alone(photos: Path) -> None:
    with zipfile.ZipFile("s.zip", "w") as archive:
        archive.write(photos / "a.png", "a.png")
        archive.write(photos / "b.png", "b.png")
    data = bytearray(Path("s.zip").read_bytes())
    data[data.index(b"IDAT") + 20] ^= 255  # its checksum does not fit any more
    Path("s.zip").write_bytes(data)
    first, second = qdebias.score("s.zip", model="fake", on_error="return")
    assert isinstance(first, Failure)
    assert "s.zip!a.png: cannot be unpacked" in first.error
    assert not isinstance(second, Failure)


def test_a_table_of_tabs_names_images(photos: Path) -> None:
    (photos / "t.tsv").write_text("image\tmos\na.png\t1\nb.png\t2\n")
    assert names("photos/t.tsv") == ["photos/a.png", "photos/b.png"]
    assert [item.mos for item in load_dataset(photos / "t.tsv").items] == [1, 2]


def test_labels_may_be_a_parquet_file_that_holds_the_pictures_too(photos: Path) -> None:
    cells = [{"bytes": b"a picture", "path": None}] * 2
    table = pa.table({"image": cells, "file_name": ["a.png", "b.png"], "mos": [1.5, 2]})
    pq.write_table(table, photos / "l.parquet")
    assert [(item.name, item.mos) for item in load_dataset(photos / "l.parquet").items] == [
        ("a.png", 1.5),
        ("b.png", 2.0),
    ]


@pytest.mark.parametrize("header", ["image,mos,mos", "image,MOS,mos", "image,mos,image"])
def test_labels_with_two_columns_of_one_name_are_refused(header: str, photos: Path) -> None:
    (photos / "l.csv").write_text(f"{header}\na.png,1,5\nb.png,2,4\n")
    with pytest.raises(SettingError, match="keep only one of them"):
        load_dataset(photos / "l.csv")
    columns = header.split(",")
    pq.write_table(pa.table([["a.png", "b.png"], [1, 2], [5, 4]], names=columns), photos / "l.parquet")
    with pytest.raises(SettingError, match="keep only one of them"):
        load_dataset(photos / "l.parquet")
    scores = pa.table([["a.png"], [0.5], [0.6]], names=["path", "score", "score"])
    pq.write_table(scores, photos / "s.parquet")
    (photos / "s.csv").write_text("path,score,score\na.png,0.5,0.6\n")
    for name in ("s.csv", "s.parquet"):
        with pytest.raises(SettingError, match="two columns named 'score'; keep only one of them"):
            read_scores(photos / name)


class Refusing(BaseHTTPRequestHandler):
    """Answers 403, as stores do where a signature has expired."""

    def do_GET(self) -> None:
        self.send_error(403 if "expired" in self.path else 404)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server wants)

    def log_message(self, *_: object) -> None: ...


def test_a_refusal_is_told_apart_from_nothing() -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for name in ("expired.tar?sig=private", "expired.parquet", "expired.csv?sig=private", "expired.png"):
            told = run("score", f"{address}/{name}", "--model", "fake").stderr
            assert "403" in told, told
            assert "private" not in told
        assert "there is nothing at" in run("score", f"{address}/gone.tar?sig=private", "--model", "fake").stderr
        server.shutdown()


def test_addresses_may_stand_in_a_list(photos: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/listed/a.png", (photos / "a.png").read_bytes())
    images = [str(photos / "a.png"), "memory://listed/a.png", "memory://gone.png"]
    first, second, third = qdebias.score(images, model="fake", on_error="return")
    assert first.value == second.value  # type: ignore[union-attr]
    assert isinstance(third, Failure)
    assert "memory://gone.png: there is nothing at this address" in third.error


def test_the_words_of_a_failure_hold_no_signature() -> None:
    with (
        pytest.raises(SettingError, match=r"403, url='https://host/a\?id=1'") as told,
        explained("https://host/a?sig=private"),
    ):
        raise OSError("403, url='https://host/a?id=1&sig=private'")
    assert "private" not in str(told.value)


SIGNED = "https://me:secret@host/a/b.tar?X-Amz-Signature=abc&id=5&token=t#part"


def test_signatures_are_left_out_of_names_and_messages() -> None:
    assert unsigned(SIGNED) == "https://host/a/b.tar?id=5#part"
    assert unsigned("https://host/image?id=5&size=3") == "https://host/image?id=5&size=3"
    assert unsigned("odd?token=1.png") == "odd?token=1.png"
    for address in ("http://127.0.0.1:9/x.png?sig=private", "http://127.0.0.1:9/x.tar?sig=private"):
        done = run("score", address, "--model", "fake", "--json")
        assert "private" not in done.stdout + done.stderr


def test_settings_of_the_user_are_kept_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "http", {"client_kwargs": {"trust_env": True}, "block_size": 7})
    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"s3": {"addressing_style": "path"}}})
    for address in ("http://host/x.png", "https://host/x.png"):
        files, _ = open_filesystem(address)
        assert files.client_kwargs["trust_env"] is True
        assert "timeout" in files.client_kwargs
    for address in ("s3://bucket/x.png", "s3a://bucket/x.png"):
        files, _ = open_filesystem(address)
        assert files.config_kwargs["s3"] == {"addressing_style": "path"}
        assert files.config_kwargs["connect_timeout"] == 10


def score_in_child(path: Path, queue: Any) -> None:
    try:
        Scorer(backend=FakeBackend()).score(path)
    except BackendError as error:
        queue.put(str(error))
    else:
        queue.put("scored")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_forked_after_scoring_is_told_so_in_one_line(photos: Path) -> None:
    """Without the guard the child hangs, or is ended by the threading library, at its first score."""
    code = (
        "import sys; from multiprocessing import get_context; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import qdebias; from test_names_and_rows import score_in_child\n"
        "path, context = Path(sys.argv[2]), get_context('fork'); queue = context.Queue()\n"
        "if sys.argv[3] == 'after': qdebias.score(path, model='fake')\n"
        "if sys.argv[3] == 'loaded': qdebias.load_backend('nano')\n"
        "child = context.Process(target=score_in_child, args=(path, queue)); child.start()\n"
        "print(queue.get(timeout=60)); child.join(60)\n"
    )
    assert get_context("fork") is not None
    refused = "a model was loaded or images were scored in this process before it was forked"
    for when, words in (("before", "scored"), ("after", refused), ("loaded", refused)):
        command = [sys.executable, "-c", code, os.path.dirname(__file__), str(photos / "a.png"), when]  # noqa: PTH120
        assert words in subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize(
    ("before", "answer"), [("", "2 scored"), ("AddScores(model='fake')({'image': [path]})", "refused")]
)
def test_a_map_in_several_processes_scores_or_is_refused_in_one_line(before: str, answer: str, photos: Path) -> None:
    code = (
        "import sys, datasets, multiprocess; from qdebias.integrations.datasets import AddScores\n"
        "from qdebias.errors import BackendError; datasets.disable_progress_bars(); path = sys.argv[1]\n"
        "if __name__ == '__main__':\n"
        "    multiprocess.set_start_method('fork', force=True)\n"
        f"    {before or 'pass'}\n"
        "    rows = datasets.Dataset.from_dict({'image': [path, path]})\n"
        "    try:\n"
        "        made = rows.map(AddScores(model='fake'), batched=True, num_proc=2)\n"
        "        print(len([one for one in made['score'] if one is not None]), 'scored')\n"
        "    except BackendError as error:\n"
        "        print('refused', str(error).count(chr(10)))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(photos / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split("\n")[0].startswith(answer), done.stderr[-2000:]


def test_files_without_a_suffix_are_scored_where_they_are_images(photos: Path) -> None:
    data = (photos / "a.png").read_bytes()
    for name in ("IMG_0001", "sub/0002"):
        (photos / name).write_bytes(data)
    for name in ("LICENSE", "sub/README", "sub/Makefile", "sub/x"):
        (photos / name).write_text("BIG letters, no image")
    os.mkfifo(photos / "pipe")
    with tarfile.open("s.tar", "w") as archive:
        archive.add(photos, "p", filter=lambda member: None if member.isfifo() else member)
    with zipfile.ZipFile("s.zip", "w") as archive_:
        for path in (photos / "IMG_0001", photos / "LICENSE"):
            archive_.write(path, path.name)
    alone = qdebias.score(photos / "a.png", model="fake")[0].value
    for argument, count, left, first in (
        ("photos", 5, 5, "photos/LICENSE"),
        ("s.tar", 5, 4, "s.tar!p/"),
        ("s.zip", 1, 1, "s.zip!LICENSE"),
    ):
        images = open_images([argument])
        found = [str(image) if isinstance(image, Path) else image.name for image in images]
        assert len(found) == count
        assert any(name.endswith("IMG_0001") for name in found)
        told = " ".join(map(str, images.left_out))
        assert f"no image: {left} file" in told
        assert first in told
    assert qdebias.score("photos/IMG_0001", model="fake")[0].value == alone
    got = run("score", "photos", "s.zip", "--model", "fake")
    assert "left out, without a suffix and no image: 6 files (photos/LICENSE, " in got.stderr
    for command in (("explain", "--out", "e.png"), ("degrade", "--out", "d"), ("rank",)):
        told = (
            run(command[0], "photos", *command[1:], "--model", "fake")
            if command[0] != "degrade"
            else run("degrade", "photos", "--out", "d")
        )
        assert "no image: 5 files (photos/LICENSE, " in told.stderr


def test_links_to_folders_elsewhere_are_named_and_those_within_are_not(photos: Path) -> None:
    save(photos.parent / "elsewhere" / "d.png")
    (photos / "out").symlink_to(photos.parent / "elsewhere")
    (photos / "in").symlink_to(photos / "sub")
    images = open_images(["photos"])
    assert len(list(images)) == 3
    assert [str(one) for one in images.left_out] == ["left out, links to folders: 1 file (photos/out)"]


def test_members_of_a_shard_that_are_links_raw_files_or_one_file_twice(photos: Path) -> None:
    data = (photos / "a.png").read_bytes()
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile("s.zip", "w") as archive:
        archive.writestr("a.png", data)
        archive.writestr("./sub/../a.png", data)
        archive.writestr(link, "a.png")
        archive.writestr("a.dng", b"raw")
    images = open_images(["s.zip"])
    _, again, linked = list(images)
    assert "another member of this name came before" in str(again)
    assert "s.zip!link.png: is a symbolic link; store the image itself" in str(linked)
    assert [str(one) for one in images.left_out] == ["left out, of formats that are not decoded: 1 file (s.zip!a.dng)"]


@pytest.mark.parametrize("name", ["scores.csv", "scores.tsv"])
def test_a_row_with_more_cells_than_columns_is_no_row(photos: Path, name: str) -> None:
    """Of a decimal comma, and of a name with a comma in it, a part would be taken for the whole."""
    mark = "\t" if name.endswith("tsv") else ","
    rows = [("image", "mos"), ("a.png", "1", "5"), ("b.png", "2", ""), ("sub/c.png", "3")]
    (photos / name).write_text("\n".join(map(mark.join, rows)))
    with pytest.raises(SettingError, match=rf"{name}, row 1: has 3 cells, and the first line names 2 columns"):
        load_dataset(photos / name)
    first, *others = open_images([str(photos / name)])
    assert f"{name}!0: has 3 cells, and the first line names 2 columns" in str(first)
    assert others == [photos / "b.png", photos / "sub" / "c.png"]


def test_a_row_that_ends_early_is_named(photos: Path) -> None:
    (photos / "mos.csv").write_text("image,mos\na.png\nb.png,2\n")
    with pytest.raises(SettingError, match=r"mos\.csv, row 1 \(a\.png\): the score '' is not a number"):
        load_dataset(photos / "mos.csv")


def test_a_table_in_utf16_is_told_as_such(photos: Path) -> None:
    (photos / "mos.csv").write_text("image,mos\na.png,1\n", encoding="utf-16")
    with pytest.raises(SettingError, match="is not UTF-8 text"):
        load_dataset(photos / "mos.csv")
    with pytest.raises(SettingError, match="is not UTF-8 text; save it as UTF-8"):
        open_images([str(photos / "mos.csv")])


def test_a_tsv_with_commas_and_a_list_in_utf16_are_told(photos: Path) -> None:
    (photos / "t.tsv").write_text("image,mos\na.png,1\n")
    (photos / "list.txt").write_text("a.png\n", encoding="utf-16")
    with pytest.raises(SettingError, match=r"separated by ',', and a .tsv by tabs; save it with tabs, or name it .csv"):
        load_dataset(photos / "t.tsv")
    for name, words in (("t.tsv", "or name it .csv"), ("list.txt", "is not UTF-8 text; save it as UTF-8")):
        with pytest.raises(SettingError, match=words):
            open_images([str(photos / name)])


def test_a_label_without_an_image_is_told(photos: Path) -> None:
    pq.write_table(pa.table({"image": ["a.png", None], "mos": [1.0, 2.0]}), photos / "l.parquet")
    with pytest.raises(SettingError, match=r"l\.parquet, row 2: names no image; correct or remove the row"):
        load_dataset(photos / "l.parquet")


def test_stdin_without_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n\n")))
    with pytest.raises(SettingError, match="stdin, which - stands for, names nothing"):
        open_images(["-"])


def test_a_folder_behind_an_address_is_searched_alike() -> None:
    import fsspec

    memory, file = fsspec.filesystem("memory"), io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, "png")
    for name in ("0001", "a.png"):
        memory.pipe_file(f"/no-suffix/{name}", file.getvalue())
    memory.pipe_file("/no-suffix/NOTES", b"no image")
    images = open_images(["memory://no-suffix/"])
    assert [image.name for image in images] == ["memory:///no-suffix/0001", "memory:///no-suffix/a.png"]  # type: ignore[union-attr]
    assert "1 file (memory:///no-suffix/NOTES)" in str(images.left_out[0])


def test_a_folder_of_results_behind_an_address_is_called_without_its_signature(tmp_path: Path) -> None:
    assert str(open_folder(str(tmp_path))) == str(tmp_path)
    folder = open_folder("http://127.0.0.1:9/scores?sig=private")
    assert str(folder) == "http://127.0.0.1:9/scores"
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9/scores.*cannot be read") as told:
        folder.read("manifest.json")
    assert "private" not in str(told.value)
