"""Fixtures that several test files use, and the count of the trials of `tests/hardening`."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from qdebias.image import RgbImage
from reference_data import ROOT, skip_absent

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hardening", action="store_true", help="as many trials as `make hardening` makes; else a few")


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether all trials are wanted, and not the quick choice of `make test`."""
    return bool(request.config.getoption("--hardening", default=False))


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Counts trials under the name of the test's file; the sum is printed in the end."""
    subject = request.node.path.stem.removeprefix("test_").replace("_", " ")

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
