"""A server that ignores what it does not support: `transformers serve` answers without log-probabilities."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdebias.backends.openai_http.backend import load_openai
from qdebias.errors import BackendError
from tiny_models import build

BUILT = os.environ.get("QDEBIAS_SERVERS", "")
if not BUILT:
    pytest.skip("make test-servers installs what this needs", allow_module_level=True)

COMMIT = "0" * 40


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Serve a tiny model from a cache as the hub's client keeps it."""
    repository = tmp_path / "models--tiny--llava"
    shutil.copytree(build("llava", tmp_path / "llava", hub=True), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    tools = {"PYTHONPATH": str(Path(BUILT).resolve() / "tools"), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    program = [str(Path(sys.executable).with_name("transformers")), "serve", "--device", "cpu"]
    command = [*program, "--host", "127.0.0.1", "--port", port]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **tools}, stdout=log, stderr=log)
    try:
        while server.poll() is None and not is_up(port):
            time.sleep(0.1)
        if server.poll() is not None:
            pytest.fail((tmp_path / "server.log").read_text(errors="replace")[-2000:])
        yield f"http://127.0.0.1:{port}/v1#tiny/llava"
    finally:
        server.kill()
        server.wait()


def is_up(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def test_answers_without_logprobs_are_refused(url: str) -> None:
    with pytest.raises(BackendError, match="answers without log-probabilities although they were requested") as caught:
        load_openai(url)
    print(f"\n    {caught.value}", end="")  # noqa: T201  shown by pytest -s, for the record
