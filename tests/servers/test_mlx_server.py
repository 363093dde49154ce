"""A server that tells the token that it sampled and no other: mlx-vlm's, which runs on Linux CPUs, too."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdebias.backends.openai_http.backend import load_openai
from qdebias.errors import BackendError
from tiny_models import build

PYTHON = Path(os.environ.get("QDEBIAS_SERVERS", "")).resolve() / "mlx" / "bin" / "python"
if not PYTHON.is_file():
    pytest.skip("make test-servers installs what this needs", allow_module_level=True)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a tiny model whose configuration is laid out as Qwen2-VL was published, which is what mlx-vlm reads."""
    folder = build("qwen2_vl", tmp_path_factory.mktemp("mlx") / "tiny", hub=True)
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    config = text | config
    config["vision_config"]["model_type"] = "qwen2_vl"
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    (folder / "config.json").write_text(json.dumps(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [str(PYTHON), "-m", "mlx_vlm.server", "--model", str(folder), "--host", "127.0.0.1", "--port", port]
    log_file = folder.parent / "server.log"
    with log_file.open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log)
    try:
        while server.poll() is None and not is_up(port):
            time.sleep(0.1)
        if server.poll() is not None:
            pytest.fail(log_file.read_text(errors="replace")[-2000:])
        yield f"http://127.0.0.1:{port}/v1#{folder}"
    finally:
        server.kill()
        server.wait()


def is_up(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def ask(url: str, **settings: object) -> dict[str, object]:
    """Return the log-probability part of an answer of one token."""
    address, _, model = url.partition("#")
    messages = [{"role": "user", "content": "Good?"}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0, "logprobs": True, **settings}
    request = urllib.request.Request(  # noqa: S310  an address of this machine
        f"{address}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        (entry,) = json.load(reply)["choices"][0]["logprobs"]["content"]
    return dict(entry)


def test_answers_with_the_sampled_token_alone_are_refused(url: str) -> None:
    with pytest.raises(BackendError, match="of the token that it sampled and of no other: it ignores top_logprobs"):
        load_openai(url)


def test_what_the_server_does_is_what_the_docs_say(url: str) -> None:
    plain, asked = ask(url), ask(url, top_logprobs=5)
    assert plain == asked
    assert asked["top_logprobs"] == []
    biased = ask(url, logit_bias={"50": 100})
    assert biased["logprob"] == pytest.approx(0, abs=1e-6), "log-probabilities are those after the bias"
