"""Images behind addresses: an S3-compatible server and a web server, both in this process."""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qdebias.inputs import addresses, open_images
from test_cli import run
from test_inputs_containers import png, score_of, scores, write_shard


def put(address: str, data: bytes) -> None:
    files, path = fsspec.url_to_fs(address)
    files.pipe_file(path, data)


def test_objects_of_a_bucket_are_images_folders_patterns_lists_shards_and_tables(bucket: str, tmp_path: Path) -> None:
    for name, number in (("a.png", 1), ("deep/b.png", 2), (".hidden.png", 3)):
        put(f"{bucket}/{name}", png(number))
    put(f"{bucket}/notes.md", b"")
    shard = write_shard(tmp_path / "x.tar", [("1.png", png(3)), ("2.png", png(4))])
    put(f"{bucket}/x.tar", shard.read_bytes())
    pq.write_table(pa.table({"image": [png(5)]}), tmp_path / "t.parquet")
    put(f"{bucket}/t.parquet", (tmp_path / "t.parquet").read_bytes())
    put(f"{bucket}/list.txt", b"deep/b.png\ngone.png\n")
    photos = {f"{bucket}/a.png": score_of(png(1)), f"{bucket}/deep/b.png": score_of(png(2))}
    assert scores(f"{bucket}/a.png") == {f"{bucket}/a.png": photos[f"{bucket}/a.png"]}
    assert scores(bucket) == photos
    assert scores(f"{bucket}/*/*.png") == {f"{bucket}/deep/b.png": photos[f"{bucket}/deep/b.png"]}
    assert scores(f"{bucket}/*.tar", f"{bucket}/t.parquet") == {
        f"{bucket}/x.tar!1.png": score_of(png(3)),
        f"{bucket}/x.tar!2.png": score_of(png(4)),
        f"{bucket}/t.parquet!0": score_of(png(5)),
    }
    listed = scores(f"{bucket}/list.txt")
    assert listed[f"{bucket}/deep/b.png"] == score_of(png(2))
    assert listed[f"{bucket}/gone.png"] == f"{bucket}/gone.png: there is nothing behind this address"


def test_a_run_knows_an_object_by_its_address(bucket: str, tmp_path: Path) -> None:
    put(f"{bucket}/a.png", png(1))
    put(f"{bucket}/bad.png", b"?")
    arguments = ("score", bucket, "--model", "fake", "--json", "--run", tmp_path / "run")
    first, second = (run(*arguments) for _ in range(2))
    assert first.stdout == second.stdout
    assert "2 images were done before" in second.stderr
    put(f"{bucket}/bad.png", png(2))
    assert "1 images tried again, 0 failed" in run("retry", tmp_path / "run").stderr


@pytest.mark.parametrize(
    ("name", "why"), [("none/*.png", "nothing matches this pattern"), ("none/", "there is nothing behind this address")]
)
def test_a_place_without_images_is_the_users_mistake(name: str, why: str, bucket: str) -> None:
    got = run("score", f"{bucket}/{name}", "--model", "fake")
    assert got.returncode == 2
    assert f"{bucket}/{name}: {why}" in got.stderr


class Web(BaseHTTPRequestHandler):
    """Knows neither ranges nor sizes, fails the first time, and never ends some files."""

    protocol_version = "HTTP/1.0"
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone.png":
            self.send_error(404)
            return
        if self.path == "/second.png" and self.asked.count(self.path) == 1:
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(png(1))
        while self.path == "/endless.png" and not self.wfile.closed:
            try:
                self.wfile.write(bytes(100_000))
            except OSError:
                return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Logged", (Web,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_web_is_read_with_patience_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MAX_BYTES", 300_000)
    with serving() as (site, asked):
        got = scores(*(f"{site}/{name}.png" for name in ("first", "second", "gone", "endless")))
    assert got[f"{site}/first.png"] == got[f"{site}/second.png"] == score_of(png(1))
    assert got[f"{site}/gone.png"] == f"{site}/gone.png: there is nothing behind this address"
    assert "more than 0 MB" in str(got[f"{site}/endless.png"])
    assert [asked.count(f"/{name}.png") for name in ("first", "second", "gone", "endless")] == [1, 2, 1, 1]


def test_what_does_not_arrive_in_time_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "SECONDS", 0.0)
    with serving() as (site, asked):
        got = scores(f"{site}/first.png")
    assert got == {f"{site}/first.png": f"{site}/first.png: did not arrive within 0 s"}
    assert len(asked) == addresses.ATTEMPTS


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hf://datasets/somebody/photos/x.parquet", r": cannot be read \(.*Connection refused"),
        ("gs://bucket/a.png", r': .*gcsfs.*; pip install "qdebias\[cloud\]"'),
    ],
)
def test_a_hub_out_of_reach_and_an_absent_package_are_one_error(
    name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": "http://127.0.0.1:1"})
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    got = run("score", name, "--model", "fake")
    assert (got.returncode, got.stdout, got.stderr.count("\n")) == (2, "", 1)
    assert re.search(re.escape(name) + why, got.stderr)


def test_listing_does_not_fetch(bucket: str) -> None:
    put(f"{bucket}/a.png", b"no image at all")
    assert open_images([bucket]).count() == 1
