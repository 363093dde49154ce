"""`qdebias serve` as a process: starting, stopping with grace, refusing to start."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.runs.scorer import Scorer
from serving import PATIENCE, code, encoded, noise, wait_until

BACKEND = """
import time
from pathlib import Path
from qdebias.backends.fake import FakeBackend

class Waiting(FakeBackend):
    def option_logits(self, requests):
        while (here / "hold").exists():
            (here / "asked").touch()
            time.sleep(0.01)
        return super().option_logits(requests)

here = Path(__file__).parent

def make():
    return Waiting()

class Breaking(FakeBackend):
    error = MemoryError("no more")

    def option_logits(self, requests):
        if (here / "hold").exists():
            raise self.error
        return super().option_logits(requests)

class Panic(BaseException):
    pass  # as PyO3 raises it

def out_of_memory():
    return Breaking()

def panicking():
    backend = Breaking()
    object.__setattr__(backend, "error", Panic("index out of bounds"))
    return backend

def broken():
    from qdebias.errors import BackendError
    raise BackendError("the weights are damaged; obtain them again")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "held.py").write_text(BACKEND)
    return tmp_path


def command(folder: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    path = os.pathsep.join([str(folder), *sys.path])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "HOME": str(folder), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", "from qdebias.cli import main; main()", "serve", *arguments],
        text=True,
        stderr=subprocess.PIPE,
        env=environment,
    )


@contextmanager
def serving(folder: Path, *arguments: str, **variables: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = command(folder, "--port", str(port), *arguments, **variables)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or status(url) == 200)
        assert process.poll() is None, process.communicate()
        yield process, url
    finally:
        process.kill()
        process.communicate()


def status(url: str) -> int:
    try:
        return httpx2.get(f"{url}/readyz", trust_env=False).status_code
    except httpx2.TransportError:
        return 0


def post(url: str) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/score", files={"image": encoded(noise(1))}, timeout=PATIENCE, trust_env=False)


def test_a_request_under_way_is_answered_before_the_server_stops(folder: Path) -> None:
    with serving(folder, "--model", "slow=held:make") as (process, url), ThreadPoolExecutor(1) as pool:
        (folder / "hold").touch()
        answer = pool.submit(post, url)
        wait_until((folder / "asked").exists)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: status(url) == 0)  # takes no new connections
        assert process.poll() is None
        (folder / "hold").unlink()
        found = answer.result()
        assert found.status_code == 200
        assert found.json()["score"] == Scorer(backend=FakeBackend()).score(noise(1)).value
        assert found.json()["model"] == "slow"
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["route"] for line in lines if line["event"] == "request"] == ["/v1/score"]
    assert "Traceback" not in log


def test_a_request_that_outlasts_the_drain_is_told_so(folder: Path) -> None:
    with serving(folder, "--model", "slow=held:make", "--drain", "1") as (process, url), ThreadPoolExecutor(1) as pool:
        (folder / "hold").touch()
        answer = pool.submit(post, url)
        wait_until((folder / "asked").exists)
        process.send_signal(signal.SIGTERM)
        assert code(answer.result()) == "503 not_ready"
        (folder / "hold").unlink()
        process.communicate(timeout=PATIENCE)


def test_a_model_that_cannot_be_loaded_ends_the_server_with_one_line(folder: Path) -> None:
    process = command(folder, "--port", "0", "--model", "held:broken")
    _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert log.splitlines()[-1] == "error: the weights are damaged; obtain them again"


def test_a_port_that_is_taken_ends_the_server_with_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = command(folder, "--port", str(taken.getsockname()[1]), "--model", "fake")
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "in use" in log.splitlines()[-1]
    assert log.splitlines()[-1].endswith("; stop what listens there, or choose another --health-port or --port")
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("--host", "192.0.2.1"), {}, "can be reached from other machines, and there are no keys"),
        (("--keys-file", "absent"), {}, "the keys cannot be read"),
        ((), {"QDEBIAS_SERVE_KEYS": "short"}, "shorter than 16"),
        (("--certificate", "a.pem"), {}, "both --certificate and --private-key"),
        (("-m", "nano", "-m", "nano"), {}, "different names"),
        (("--queue", "4", "--deadline", "0"), {}, "deadline"),
        (("--certificate", "a.pem", "--private-key", "b.pem"), {}, "cannot be read"),
    ],
)  # fmt: skip
def test_what_would_be_unsafe_or_impossible_is_refused(
    arguments: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", *arguments], env=variables)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(("model", "error"), [("out_of_memory", "MemoryError"), ("panicking", "Panic")])
def test_a_process_that_is_broken_says_so_in_one_line_and_ends(folder: Path, model: str, error: str) -> None:
    with serving(folder, "--model", f"held:{model}") as (process, url):
        (folder / "hold").touch()
        with pytest.raises(httpx2.TransportError):
            httpx2.post(f"{url}/v1/score", files={"image": encoded(noise(1))}, trust_env=False, timeout=PATIENCE)
        assert process.wait(PATIENCE) == 1
        lines = (process.stderr or ()) and process.stderr.read().splitlines()
        said = [json.loads(line) for line in lines if line.startswith("{") and "broken" in line]
        assert [line["error"] for line in said] == [error]


def test_a_process_whose_model_never_answers_ends_when_it_is_told_to(folder: Path) -> None:
    with serving(folder, "--model", "held:make", "--drain", "1") as (process, url), ThreadPoolExecutor(1) as pool:
        (folder / "hold").touch()
        asked = pool.submit(
            httpx2.post, f"{url}/v1/score", files={"image": encoded(noise(1))}, trust_env=False, timeout=PATIENCE
        )
        wait_until((folder / "asked").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) != 0
        assert asked.exception() is not None or asked.result().status_code == 503
