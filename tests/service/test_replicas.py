"""The service on Ray Serve: two replicas on this machine."""

import gc
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import ray
from ray import serve

from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError
from qdebias.runs.scorer import Scorer
from qdebias.service.replicas import Options, app
from serving import PATIENCE, code, encoded, noise, send, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

ROOT = Path(__file__).resolve().parents[2]
KEY = "key-of-the-replicas"
PLACES = 2
"""Images under way in a replica, at most."""
BACKEND = """
import os
import time
from pathlib import Path
from qdebias.backends.fake import FakeBackend

here = Path(__file__).parent

class Signed(FakeBackend):
    def option_logits(self, requests):
        (here / str(os.getpid())).touch()
        while (here / "hold").exists():
            time.sleep(0.01)
        return super().option_logits(requests)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("signed")
    (found / "signed.py").write_text(BACKEND)
    return found


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else 15: replicas wait for whatever else the machine does
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(folder)]))
        patch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", str(PATIENCE))
        patch.setenv("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", str(PATIENCE))
        patch.setenv("QDEBIAS_SERVE_KEYS", KEY)
        ray.init("local", num_cpus=1, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            options = {"queue": PLACES, "images": PLACES, "decoders": 1}
            chosen = Options(replicas=2, cpus=0.1, models="fake=signed:Signed", settings=options)
            serve.run(app(chosen))
            yield f"http://127.0.0.1:{port}"
        finally:
            serve.shutdown()
            ray.shutdown()
            gc.collect()  # Ray forgets its processes before they have ended, which is warned of here


def post(url: str, image: bytes, *, seconds: float = PATIENCE) -> httpx2.Response:
    key = {"authorization": f"Bearer {KEY}"}
    return httpx2.post(f"{url}/v1/score", files={"image": image}, headers=key, timeout=seconds, trust_env=False)


def test_both_replicas_answer_with_the_same_scores(url: str, folder: Path) -> None:
    for path in folder.glob("[0-9]*"):
        path.unlink()  # left when the models were loaded
    with ThreadPoolExecutor(PLACES) as pool:
        answers = list(pool.map(lambda seed: post(url, encoded(noise(seed))), [*range(8)] * 4))
    direct = [Scorer(backend=FakeBackend()).score(noise(seed)).value for seed in range(8)]
    assert [answer.json()["score"] for answer in answers] == direct * 4
    assert len(list(folder.glob("[0-9]*"))) == 2


def test_health_needs_no_key_and_everything_else_does(url: str) -> None:
    with httpx2.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:
        assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
        for address in ("/", "/metrics", "/v1/models", "/openapi.json"):
            assert code(client.get(address)) == "401 no_key"


def test_what_is_no_image_is_refused_in_our_words(url: str) -> None:
    assert code(post(url, b"no image")) == "415 no_image"


def test_full_replicas_say_so_and_clients_that_leave_free_their_places(url: str, folder: Path) -> None:
    def is_full(*, patience: float) -> bool:
        """Say whether an image is refused; one that is let in waits, until this client leaves."""
        try:
            return code(post(url, encoded(noise(1)), seconds=patience)) == "429 busy"
        except httpx2.ReadTimeout:
            return False

    hold = folder / "hold"
    hold.touch()
    waiting = [send(url, encoded(noise(seed)), announced=None, key=KEY) for seed in range(4 * PLACES)]
    try:
        wait_until(lambda: is_full(patience=PATIENCE / 3))
        for one in waiting:
            one.close()
        wait_until(lambda: not is_full(patience=5))
    finally:
        hold.unlink()
    assert post(url, encoded(noise(1))).status_code == 200


def test_without_a_key_it_has_to_be_told_that_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDEBIAS_SERVE_KEYS", raising=False)
    with pytest.raises(SettingError, match="there are no keys"):
        app(Options())
    assert app(Options(open_to_all=True))


def test_words_of_a_command_line_become_options() -> None:
    found = Options.model_validate({"replicas": "3", "models": "nano", "open_to_all": "true"})
    assert (found.replicas, found.models, found.open_to_all) == (3, ("nano",), True)
    with pytest.raises(ValueError, match="batch of the service must be above 0"):
        Options.model_validate({"settings": {"batch": 0}})
