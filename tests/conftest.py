"""Fixtures that several test files use, and the count of the trials of `tests/hardening`."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hub_server import REPOSITORY, serving_hub
from qdebias.image import RgbImage
from reference_data import ROOT, skip_absent
from remote_store import Store

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data that is not part of the repository; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("QDEBIAS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        skip_absent(f"reference data not found at {folder}; set QDEBIAS_SHARED to its folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser of the system; tests that need it skip where it is absent."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or skip_absent("no chromium was found; install it, on Debian with: apt-get install chromium")


@pytest.fixture
def photo() -> RgbImage:
    """A synthetic picture with edges, texture and colour, 72 x 96."""
    rows, columns = np.mgrid[0:72, 0:96]
    red = 255 * columns / 95
    green = 127 + 120 * np.sin(columns / 5) * np.cos(rows / 7)
    blue = np.where((rows // 12 + columns // 12) % 2, 220, 40)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Address of an S3-compatible server in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_environment(s3_server: str) -> dict[str, str]:
    """The variables by which that server is found."""
    return {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture
def bucket(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket as "s3://name", reached with the credentials and the address in the environment."""
    import fsspec

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir("photos")
    yield "s3://photos"
    files.rm("photos", recursive=True)


@pytest.fixture(scope="session")
def gs_server() -> Iterator[str]:
    """Address of a server in this process that speaks as Google Cloud Storage does."""
    from gcp_storage_emulator.server import create_server

    # Read when gcsfs is imported. Without it, buckets are first asked after over gRPC, which the server does not speak.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    yield f"http://127.0.0.1:{server._api._httpd.server_port}"
    server.stop()


@pytest.fixture
def gs_bucket(gs_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket as "gs://name", reached with the address and the settings of fsspec."""
    import fsspec

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gs_server)
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    files = fsspec.filesystem("gs", use_listings_cache=False)
    files.mkdir("pictures")
    yield "gs://pictures"
    files.rm("pictures", recursive=True)


@pytest.fixture(params=["s3", "gs", "hf"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty place of each kind."""
    import fsspec

    if request.param == "hf":
        with serving_hub() as (endpoint, repository):
            monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": endpoint})
            hub = fsspec.get_filesystem_class("hf")

            def put(name: str, data: bytes) -> None:
                repository[name] = data
                hub.clear_instance_cache()  # as in the next process: the client remembers what it listed

            yield Store(f"hf://datasets/{REPOSITORY}", put)
            hub.clear_instance_cache()
        return
    bucket = request.getfixturevalue({"s3": "bucket", "gs": "gs_bucket"}[request.param])
    files = fsspec.filesystem(request.param)
    yield Store(bucket, lambda name, data: files.pipe_file(f"{bucket}/{name}", data))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hardening", action="store_true", help="as many trials as `make hardening` makes; else a few")


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether all trials are wanted, and not the quick choice of `make test`."""
    return bool(request.config.getoption("--hardening", default=False))


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Counts trials under the names of the test's file and of the test; all sums are printed in the end."""
    file = request.node.path.stem.removeprefix("test_")
    subject = f"{file}: {request.function.__name__.removeprefix('test_')}".replace("_", " ")

    def count(number: int) -> None:
        request.node.user_properties.append(("trials", (subject, number)))

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == "trials":
                counts[value[0]] += value[1]
    if counts:
        terminalreporter.section("trials")
        for subject, number in sorted(counts.items()):
            terminalreporter.line(f"{number:7,} {subject}")
        terminalreporter.line(f"{counts.total():7,} in all")
