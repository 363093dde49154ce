"""Images behind addresses: servers that speak as S3, Google Cloud Storage, the hub of Hugging Face, and the web."""

import os
import re
import subprocess
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
from fsspec.registry import _registry

from qdebias.inputs import addresses, images, open_images
from remote_store import Store
from test_cli import run
from test_inputs_containers import png, score_of, scores, write_shard


def test_what_a_store_holds_are_images_folders_patterns_lists_shards_and_tables(store: Store, tmp_path: Path) -> None:
    place = store.root
    for name, number in (("a.png", 1), ("deep/b.png", 2), (".hidden.png", 3)):
        store.put(name, png(number))
    store.put("notes.md", b"")
    store.put("x.tar", write_shard(tmp_path / "x.tar", [("1.png", png(3)), ("2.png", png(4))]).read_bytes())
    pq.write_table(pa.table({"image": [png(5)]}), tmp_path / "t.parquet")
    store.put("t.parquet", (tmp_path / "t.parquet").read_bytes())
    store.put("list.txt", b"deep/b.png\ngone.png\n")
    photos = {f"{place}/a.png": score_of(png(1)), f"{place}/deep/b.png": score_of(png(2))}
    assert scores(f"{place}/a.png") == {f"{place}/a.png": photos[f"{place}/a.png"]}
    assert scores(place) == photos
    assert scores(f"{place}/*/*.png") == {f"{place}/deep/b.png": photos[f"{place}/deep/b.png"]}
    assert scores(f"{place}/*.tar", f"{place}/t.parquet") == {
        f"{place}/x.tar!1.png": score_of(png(3)),
        f"{place}/x.tar!2.png": score_of(png(4)),
        f"{place}/t.parquet!0": score_of(png(5)),
    }
    listed = scores(f"{place}/list.txt")
    assert listed[f"{place}/deep/b.png"] == score_of(png(2))
    assert listed[f"{place}/gone.png"] == f"{place}/gone.png: there is nothing at this address"


def test_a_run_knows_an_object_by_its_address(store: Store, tmp_path: Path) -> None:
    store.put("a.png", png(1))
    store.put("bad.png", b"?")
    arguments = ("score", store.root, "--model", "fake", "--json", "--run", tmp_path / "run")
    first, second = (run(*arguments) for _ in range(2))
    assert first.stdout == second.stdout
    assert "2 images were done before" in second.stderr
    store.put("bad.png", png(2))
    assert "1 images tried again, 0 failed" in run("retry", tmp_path / "run").stderr


@pytest.mark.parametrize(
    ("name", "why"), [("none/*.png", "nothing matches this pattern"), ("none/", "there is nothing at this address")]
)
def test_a_place_without_images_is_the_users_mistake(name: str, why: str, store: Store) -> None:
    got = run("score", f"{store.root}/{name}", "--model", "fake")
    assert got.returncode == 2
    assert f"{store.root}/{name}: {why}" in got.stderr


class Web(BaseHTTPRequestHandler):
    """Knows neither ranges nor sizes, fails the first time, and never ends some files."""

    protocol_version = "HTTP/1.0"
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/gone."):
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
    assert got[f"{site}/gone.png"] == f"{site}/gone.png: there is nothing at this address"
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
    monkeypatch.delitem(_registry, "gs", raising=False)  # where another test had it loaded
    got = run("score", name, "--model", "fake")
    assert (got.returncode, got.stdout, got.stderr.count("\n")) == (2, "", 1)
    assert re.search(re.escape(name) + why, got.stderr)


def test_a_place_that_refuses_the_connection_is_one_image_of_a_list(tmp_path: Path) -> None:
    address, unknown = "ftp://127.0.0.1:1/b.png", "xyz://a/b.png"
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "list.txt").write_text(f"{address}\n{unknown}\na.png\n")
    got = scores("list.txt", cwd=tmp_path)
    assert got["a.png"] == score_of(png(1))
    assert got[address] == f"{address}: cannot be read (Connection refused)"
    assert str(got[unknown]).startswith(f"{unknown}: Protocol not known")
    got = run("score", address, "--model", "fake")
    assert (got.returncode, got.stdout, got.stderr.count("\n")) == (2, "", 1)


OUT_OF_REACH = """
import asyncio, os, types
os.environ |= {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1", "FSSPEC_GS_TOKEN": "anon"}
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
import gcsfs.retry
gcsfs.retry.asyncio = types.SimpleNamespace(sleep=lambda _: asyncio.sleep(0))
from qdebias.cli import main
main()
"""


@pytest.mark.parametrize(("name", "code"), [("gs://bucket/", 2), ("gs://bucket/a.png", 1)])
def test_a_cloud_out_of_reach_is_one_error_and_its_package_keeps_silent(name: str, code: int) -> None:
    command = [sys.executable, "-c", OUT_OF_REACH, "score", name, "--model", "fake", "--method", "vanilla"]
    got = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = got.stderr.splitlines()
    assert (got.returncode, len(lines)) == (code, 1 if code == 2 else 2), got.stderr
    assert re.search(rf"{re.escape(name)}: cannot be read \(Cannot connect to host 127.0.0.1:1 ", lines[0])


def test_listing_a_folder_neither_fetches_nor_remembers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "hashlib", None)  # by which names are remembered
    store.put("a.png", b"no image at all")
    assert open_images([store.root]).count() == 1


def test_signatures_are_in_nothing_that_is_written(tmp_path: Path) -> None:
    hidden = "abc123def456"
    with serving() as (site, _):
        signed = f"?X-Amz-Signature={hidden}&id=1"
        (tmp_path / "list.txt").write_text(f"{site}/a.png{signed}\n{site}/gone.png{signed}\n")
        images = (tmp_path / "list.txt", f"{site}/b.png{signed}", f"{site}/c.tar{signed}", f"{site}/gone.csv{signed}")
        folder = tmp_path / "written"
        folder.mkdir()
        ask = ("--model", "fake", "--run", folder / "run")
        told = [run("score", *images, *ask, "--out", folder / "rows.csv"), run("score", *images, *ask, "--json")]
        told += [run("check", *images, *ask), run("retry", folder / "run"), run("status", folder / "run", "--json")]
        told += [
            run("export", folder / "run", "--out", folder / "rows.parquet"),
            run("filter", "--run", folder / "run", "--top", "1"),
        ]
        told += [run("report", folder / "run", "--out", folder / "page.html")]
    assert all(f"{site}/a.png?id=1" in one.stdout for one in told[:2])
    for one in told:
        assert hidden not in one.stdout + one.stderr
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if hidden.encode() in path.read_bytes()] == []


class Proxy(BaseHTTPRequestHandler):
    """Answers for every host by itself, as a proxy that has all in its cache."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(png(1))))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(png(1))

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None: ...


SETTINGS = {
    "FSSPEC_S3_ANON": "true",
    "AWS_ENDPOINT_URL": "http://s3.invalid",
    "FSSPEC_GS": '{"token": "anon", "endpoint_url": "http://gs.invalid"}',
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
}


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("http://web.invalid/a.png", "http://web.invalid/a.png"),
        ("s3://bucket/a.png", "http://s3.invalid/bucket"),
        ("gs://bucket/a.png", "http://gs.invalid/"),
    ],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_the_proxy_of_the_environment_is_asked(variable: str, address: str, asked: str) -> None:
    heard: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Logged", (Proxy,), {"asked": heard}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {variable: f"http://127.0.0.1:{server.server_port}", **SETTINGS}
    command = [sys.executable, "-m", "qdebias", "score", address, "--model", "fake", "--method", "vanilla"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    server.shutdown()
    server.server_close()
    assert any(one.startswith(asked) for one in heard), done.stderr
    if address.startswith("http"):  # the others first ask what there is, in JSON and XML
        assert (done.returncode, done.stdout.split("\t")[-1]) == (0, f"{address}\n"), done.stderr
