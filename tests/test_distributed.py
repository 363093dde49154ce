"""Runs on a cluster: three nodes of Ray on this machine, of which processes and nodes are killed."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image
from ray.cluster_utils import Cluster

import deadly_backends
from qdebias.backends.load import load_backend
from qdebias.errors import SettingError, StoreError
from qdebias.inputs import open_images
from qdebias.inputs.items import NamedImages, Unreadable
from qdebias.inputs.shards import Shard
from qdebias.inputs.tables import DatasetRows, Rows
from qdebias.integrations.ray import Progress, Setting, Workers, score_on_ray
from qdebias.integrations.ray.cluster import Tally, Worker, check_reachable
from qdebias.integrations.ray.folder import Manifest, Plan, freeze, open_folder, score_file
from qdebias.runs.scorer import Scorer
from qdebias.system.output import locked
from test_cli import run

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # else 15, and workers wait for minutes on a machine that has other things to do
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]),
}
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, s3_environment: dict[str, str]) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ENVIRONMENT | s3_environment).items():
            patch.setenv(name, value)
        patch.setenv(deadly_backends.PIDS, str(tmp_path_factory.mktemp("pids")))
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"_system_config": QUICK})
        try:
            connect(cluster)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def connect(cluster: Any) -> None:
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")


def make_photos(folder: Path, count: int) -> list[Path]:
    noise = np.random.default_rng(7)
    folder.mkdir()
    paths = [folder / f"{number:05}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(noise.integers(4, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return paths


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "scores").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def local_scores(paths: list[Path], *, model: str = "fake", method: str = "vanilla") -> list[float]:
    scorer = Scorer(backend=load_backend(model), method=method, batch=1)
    return [result.value for result in scorer.score_many(paths)]


def test_every_image_is_scored_exactly_once_though_a_worker_and_a_node_are_killed(cluster: Any, tmp_path: Path) -> None:
    paths, killed = make_photos(tmp_path / "photos", 300), []
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    cluster.wait_for_nodes()

    def kill(progress: Progress) -> None:
        """Kill the worker of one node, then the other node as a whole."""
        if progress.done >= 4 and not killed:
            workers = dict(path.name.split(".") for path in Path(os.environ[deadly_backends.PIDS]).iterdir())
            killed.append(nodes[0].node_id)
            os.kill(int(workers[nodes[0].node_id]), signal.SIGKILL)
        elif progress.done >= 8 and len(killed) == 1:
            killed.append(nodes[1].node_id)
            cluster.remove_node(nodes[1], allow_graceful=False)

    setting = Setting(model="deadly_backends:slow", method="vanilla", batch=1)
    done = score_on_ray(
        [tmp_path / "photos"],
        out=tmp_path / "out",
        setting=setting,
        workers=Workers(count=3),
        chunk=5,
        on_progress=kill,
    )
    cluster.remove_node(nodes[0])
    assert len(killed) == 2
    assert done.deaths >= 2
    assert (done.chunks, done.done, done.images, done.failed) == (60, 60, 300, 0)
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert [row["score"] for row in rows] == local_scores(paths)


@pytest.fixture
def address(cluster: Any) -> Iterator[str]:
    """Address of the cluster, to which this process is not connected meanwhile: a command connects by itself."""
    ray.shutdown()
    yield cluster.address
    connect(cluster)


def test_an_image_that_kills_its_worker_is_a_failed_row_and_ray_keeps_silent_about_it(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = make_photos(tmp_path / "photos", 12)
    Image.new("RGB", (32, 32), deadly_backends.POISON).save(paths[4])
    (tmp_path / "photos" / "00007.png").write_text("no image")
    options = ("--model", "deadly_backends:poisoned", "--method", "vanilla", "--ray", address, "--actors", 1)
    got = run("score", tmp_path / "photos", *options, "--chunk", 6, "--out", tmp_path / "out")
    assert (got.returncode, got.stdout, capfd.readouterr()) == (1, "", ("", ""))
    words = [line for line in got.stderr.splitlines() if " of 2 chunks; " not in line]
    assert [line.partition(": ")[0] for line in words[:-1]] == [f"worker {n} died and is replaced" for n in range(1, 5)]
    assert all(len(line) < 400 for line in words)
    assert re.match(r"12 images, 2 failed, .* images/s, 4 workers died, written to /", words[-1])
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert [place for place, row in enumerate(rows) if row["error"]] == [4, 7]
    assert rows[4]["score"] is None
    assert "00004.png: 2 workers died while they scored nothing else" in rows[4]["error"]
    sound = [place for place in range(12) if place not in (4, 7)]
    assert [rows[place]["score"] for place in sound] == local_scores([paths[place] for place in sound])
    assert not list((tmp_path / "out" / "notes").iterdir())


@pytest.mark.usefixtures("cluster")
def test_the_embedded_model_answers_in_a_worker_as_it_does_here(tmp_path: Path) -> None:
    paths, setting = make_photos(tmp_path / "photos", 3), Setting(model="nano", batch=1, device="cpu")
    score_on_ray([tmp_path / "photos"], out=tmp_path / "out", setting=setting, workers=Workers(count=1), chunk=2)
    assert [row["score"] for row in rows_of(tmp_path / "out")] == local_scores(paths, model="nano", method="paper")


@pytest.mark.usefixtures("cluster")
def test_only_chunks_that_are_not_written_are_scored(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 6)
    out, setting = tmp_path / "out", Setting(model="fake", method="vanilla")

    def go() -> Progress:
        return score_on_ray([tmp_path / "photos"], out=out, setting=setting, workers=Workers(count=1), chunk=2)

    first, files = go(), sorted((out / "scores").iterdir())
    written = [path.read_bytes() for path in files]
    assert (first.skipped, first.done, len(files)) == (0, 3, 3)
    files[1].unlink()
    second = go()
    assert (second.skipped, second.done, second.images) == (2, 1, 2)
    assert [path.read_bytes() for path in files] == written


def test_workers_share_a_gpu_and_one_without_room_is_awaited(cluster: Any, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 24)
    node = cluster.add_node(**NODE | {"num_cpus": 2, "num_gpus": 1})  # a GPU in name
    cluster.wait_for_nodes()

    def seen(out: str, workers: Workers) -> set[tuple[int, int]]:
        told: list[Progress] = []
        setting = Setting(model="deadly_backends:sleepy", method="vanilla", batch=1)
        score_on_ray(
            [tmp_path / "photos"],
            out=tmp_path / out,
            setting=setting,
            workers=workers,
            chunk=1,
            on_progress=told.append,
        )
        return {(one.at_work, one.awaited) for one in told}

    try:
        assert (2, 0) in seen("halves", Workers(gpus=0.5))
        whole = seen("whole", Workers(gpus=1, count=2))
        assert (1, 1) in whole
        assert max(at_work for at_work, _ in whole) == 1
    finally:
        cluster.remove_node(node)


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The folder of a run of which everything is written, so that whatever goes on with it needs no cluster."""
    make_photos(tmp_path / "photos", 3)
    folder = open_folder(str(tmp_path / "out"))
    decisive = Setting(model="fake", method="vanilla").absolute().decisive()
    extent = freeze(open_images([str(tmp_path / "photos")]).pieces(), folder, chunk=2)
    Manifest(setting=decisive, identity={"model": "fake"}, chunk=2, extent=extent).write(folder)
    for chunk in range(extent.chunks):
        folder.write(score_file(chunk), b"")
    return tmp_path / "out"


def test_a_run_of_which_all_is_written_needs_no_cluster(started: Path) -> None:
    done = score_on_ray([started.parent / "photos"], out=started, setting=Setting(model="fake", method="vanilla"))
    assert (done.chunks, done.skipped, done.done, done.total) == (2, 2, 0, 3)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (Setting(model="fake", method="paper"), "method: vanilla in the run, paper now"),
        (Setting(model="nano", method="vanilla"), "model: fake in the run, nano now"),
        (Setting(model="fake", method="vanilla", seed=3), "seed: 0 in the run, 3 now"),
    ],
)
def test_another_model_or_method_is_refused(started: Path, setting: Setting, why: str) -> None:
    with pytest.raises(StoreError, match=why):
        score_on_ray([started.parent / "photos"], out=started, setting=setting)


def test_a_run_of_what_was_paper_goes_on_as_paper_eq7_alone(started: Path) -> None:
    said = json.loads((started / "manifest.json").read_text())
    said["setting"] = {**Setting(model="fake", method="paper-eq7").absolute().decisive(), "method": "paper"}
    (started / "manifest.json").write_text(json.dumps(said))
    again = partial(score_on_ray, [started.parent / "photos"], out=started)
    assert again(setting=Setting(model="fake", method="paper-eq7")).skipped == 2
    with pytest.raises(StoreError, match=r"settings of the method: .*; what was paper is paper-eq7 now"):
        again(setting=Setting(model="fake", method="paper"))


def test_other_images_are_refused(started: Path) -> None:
    (started.parent / "photos" / "00001.png").unlink()
    with pytest.raises(StoreError, match=r"3 images in 2 chunks then, 2 images in 1 chunks now.*another folder"):
        score_on_ray([started.parent / "photos"], out=started, setting=Setting(model="fake", method="vanilla"))


def test_scores_without_a_manifest_are_left_alone(started: Path) -> None:
    (started / "manifest.json").unlink()
    with pytest.raises(StoreError, match="has scores but no manifest"):
        score_on_ray([started.parent / "photos"], out=started, setting=Setting(model="fake", method="vanilla"))


def test_a_plan_keeps_pieces_of_every_kind(tmp_path: Path) -> None:
    pieces = [
        NamedImages(("/a.png", "s3://b/\udcff.png", "/c.png")),
        Shard("/x.tar"),
        Rows("/t.parquet", "image", 1, 20, 20),
        DatasetRows("/d", "train", "image", 0, 5),
        Unreadable("/e", "/e: no image in this folder"),
    ]
    folder = open_folder(str(tmp_path))
    extent = freeze(pieces, folder, chunk=2)
    assert (extent.chunks, extent.images) == (6, None)
    assert extent == freeze(pieces, None, chunk=2)
    assert [Plan(folder).piece(chunk) for chunk in range(6)] == [
        NamedImages(("/a.png", "s3://b/\udcff.png")),
        NamedImages(("/c.png",)),
        *pieces[1:],
    ]
    with pytest.raises(StoreError, match="has no chunk 6"):
        Plan(folder).piece(6)


def test_a_plan_that_was_written_before_is_read(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    lines = ['["Named", {"names": ["/a.png"]}]', '["Nothing", {"name": "/e", "error": "/e: no image"}]']
    folder.write("plan/000000.jsonl", "\n".join(lines).encode())
    assert [Plan(folder).piece(0), Plan(folder).piece(1)] == [
        NamedImages(("/a.png",)),
        Unreadable("/e", "/e: no image"),
    ]
    extent = freeze([NamedImages(("/a.png",)), Unreadable("/e", "/e: no image")], folder, chunk=1)
    assert (folder.read("plan/000000.jsonl") or b"").decode() == "\n".join(lines) + "\n"
    assert extent.chunks == 2


def test_a_worker_tells_what_it_left_out_of_a_shard(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.write(make_photos(tmp_path / "photos", 1)[0], "a.png")
        archive.writestr("LICENSE", "no image, and long enough to tell")
        archive.writestr("a.dng", "raw")
    folder = open_folder(str(tmp_path / "out"))
    freeze(open_images([str(tmp_path / "s.zip")]).pieces(), folder, chunk=2)
    tally = Worker(Setting(model="fake", method="vanilla"), folder).score(0)
    assert (tally.images, tally.failed) == (1, 0)
    assert [str(part).partition(":")[0] for part in tally.left_out] == [
        "left out, without a suffix and no image",
        "left out, of formats that are not decoded",
    ]


@pytest.mark.parametrize("kind", ["bucket", "gs_bucket"])
def test_workers_score_into_a_bucket(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Without Ray: the same worker, in this process."""
    bucket = request.getfixturevalue(kind)
    paths = make_photos(tmp_path / "photos", 3)
    folder = open_folder(f"{bucket}/out")
    assert (folder.names("scores"), folder.read("manifest.json")) == (set(), None)
    freeze(open_images([str(tmp_path / "photos")]).pieces(), folder, chunk=2)
    worker = Worker(Setting(model="fake", method="vanilla"), folder)
    assert [worker.score(0), worker.score(1, {})] == [
        Tally(chunk=0, images=2, failed=0),
        Tally(chunk=1, images=1, failed=0),
    ]
    assert folder.names("scores") == {"00000000.parquet", "00000001.parquet"}
    assert folder.names("notes") == set()
    tables = [pq.read_table(BytesIO(folder.read(score_file(chunk)) or b"")).to_pylist() for chunk in range(2)]
    assert [row["score"] for row in [*tables[0], *tables[1]]] == local_scores(paths)


def test_workers_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingError, match="a part of one GPU or whole ones"):
        Workers(gpus=1.5)


def test_a_bucket_is_source_and_destination_and_the_run_goes_on_from_it(address: str, bucket: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    source, out, files = f"{bucket}/in", f"{bucket}/out", fsspec.filesystem("s3")
    for number, image in enumerate(pixels):
        with files.open(f"{source}/{number}.png", "wb") as file:
            Image.fromarray(image).save(file, "PNG")
    options = ("--model", "fake", "--method", "vanilla", "--batch", 1)

    def go(where: str) -> tuple[str, dict[str, bytes]]:
        got = run("score", source, *options, "--chunk", 2, "--ray", where, "--actors", 1, "--out", out)
        assert (got.returncode, got.stdout) == (0, "")
        return got.stderr, {name: files.cat_file(name) for name in sorted(files.ls(f"{out}/scores"))}

    words, written = go(address)
    assert words.endswith(f"images/s, written to {out}/scores\n")
    assert len(written) == 3
    scored = [row for data in written.values() for row in pq.read_table(BytesIO(data)).to_pylist()]
    here = [json.loads(line) for line in run("score", source, *options, "--json").stdout.splitlines()]
    assert [(row["path"], row["score"]) for row in scored] == [(row["path"], row["score"]) for row in here]
    assert [row["path"] for row in scored] == [f"{source}/{number}.png" for number in range(5)]
    files.rm_file(f"{out}/scores/00000001.parquet")
    assert "2 images, 0 failed" in (again := go(address))[0]
    assert "2 of 3 chunks were done before" in again[0]
    assert again[1] == written
    assert "3 of 3 chunks were done before" in go(NOBODY)[0]


NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (NOBODY, "Connection refused"),
        ("head", "an address is HOST:PORT, 'auto' or 'local'"),
        ("head:99999", ""),
        ("ray://127.0.0.1:1", "Connection refused"),
    ],
)
def test_an_address_without_a_cluster_is_one_error_before_anything_is_listed(
    address: str, why: str, tmp_path: Path
) -> None:
    make_photos(tmp_path / "photos", 1)
    got = run("score", tmp_path / "photos", "--model", "fake", "--ray", address, "--out", tmp_path / "out")
    assert (got.returncode, got.stdout, got.stderr.count("\n")) == (2, "", 1)
    assert f"no Ray cluster at '{address}' ({why}" in got.stderr
    assert "`ray start --head` begins one" in got.stderr
    assert not (tmp_path / "out").exists()


def test_what_listens_and_is_no_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdebias.integrations.ray.cluster.HEAD_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SettingError, match=f"no Ray cluster at '{address}' .no head of a cluster answers within 3"):
            check_reachable(address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(SettingError, match=f"no Ray cluster at '{address}'"):
            check_reachable("auto")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "--ray needs --out FOLDER"),
        (("--out", "out", "--json", "--run", "run"), "leave out --json, --run"),
    ],
)
def test_options_that_do_not_go_with_a_cluster_are_refused(options: tuple[str, ...], why: str, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 1)
    result = run("score", tmp_path / "photos", "--ray", "local", *options)
    assert result.returncode == 2
    assert why in result.stderr


def test_a_folder_that_another_command_writes_is_refused(started: Path) -> None:
    setting = Setting(model="fake", method="vanilla")
    with locked(started), pytest.raises(StoreError, match=rf"out is being written by process {os.getpid()} on "):
        score_on_ray([started.parent / "photos"], out=started, setting=setting)
    assert score_on_ray([started.parent / "photos"], out=started, setting=setting).skipped == 2
