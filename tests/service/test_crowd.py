"""More requests than the model can take, clients that leave, answers that come too late."""

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest

from qdebias.backends.fake import FakeBackend
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from qdebias.service.server import health_server
from serving import PATIENCE, Gated, Running, code, encoded, noise, running, send, wait_until


@contextmanager
def gated(**settings: float) -> Iterator[tuple[Running, Gated, ThreadPoolExecutor]]:
    """Serve a model that answers only when it is let; its first answer, before it is ready, is let."""
    backend = Gated()
    backend.gate.release()
    chosen = Settings(method="vanilla", **settings)  # type: ignore[arg-type]
    with running({"gated": backend}, chosen) as server, ThreadPoolExecutor(32) as pool:
        backend.busy.clear()
        backend.batches.clear()
        try:
            yield server, backend, pool
        finally:
            for _ in range(1000):
                backend.gate.release()


def post(server: Running, seed: int) -> httpx2.Response:
    with server.client() as client:
        return client.post("/v1/score", files={"image": encoded(noise(seed))})


def value(answer: Future[httpx2.Response]) -> float:
    assert answer.result().status_code == 200, answer.result().text
    return float(answer.result().json()["score"])


def direct(seed: int) -> float:
    return Scorer(backend=FakeBackend(), method="vanilla").score(noise(seed)).value


def test_requests_of_many_clients_share_batches() -> None:
    with gated(batch=8) as (server, backend, pool):
        first = pool.submit(post, server, 0)
        backend.busy.wait()
        rest = [pool.submit(post, server, seed) for seed in range(1, 11)]
        wait_until(lambda: server.service.batcher.waiting == 10)
        for _ in range(3):
            backend.gate.release()
        assert [value(answer) for answer in (first, *rest)] == [direct(seed) for seed in range(11)]
        assert backend.batches == [1, 8, 2]


def test_a_full_queue_says_when_to_come_again() -> None:
    with gated(queue=3, images=3) as (server, backend, pool):
        waiting = [pool.submit(post, server, seed) for seed in range(3)]
        wait_until(lambda: server.service.places.taken == 3)
        refused = post(server, 3)
        assert code(refused) == "429 busy"
        assert int(refused.headers["retry-after"]) >= 1
        with server.client() as client:
            assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        for _ in range(3):
            backend.gate.release()
        assert [value(answer) for answer in waiting] == [direct(seed) for seed in range(3)]
        assert server.service.places.taken == 0


def test_a_batch_that_does_not_fit_is_refused_whole() -> None:
    with gated(queue=3, images=3) as (server, backend, pool), server.client() as client:
        waiting = pool.submit(post, server, 0)
        backend.busy.wait()
        files = [("images", encoded(noise(seed))) for seed in range(3)]
        assert code(client.post("/v1/score/batch", files=files)) == "429 busy"
        backend.gate.release()
        assert value(waiting) == direct(0)
        for _ in range(3):
            backend.gate.release()
        assert client.post("/v1/score/batch", files=files).status_code == 200


def test_clients_that_leave_free_their_places() -> None:
    with gated(queue=4, images=4) as (server, backend, pool):
        first = pool.submit(post, server, 0)
        backend.busy.wait()
        sockets = [open_request(server, seed) for seed in range(1, 4)]
        wait_until(lambda: server.service.batcher.waiting == 3)
        assert code(post(server, 9)) == "429 busy"
        for one in sockets:
            one.close()
        wait_until(lambda: server.service.places.taken == 1)
        assert server.service.batcher.waiting == 0
        assert server.service.pixels.out == 48 * 64
        backend.gate.release()
        assert value(first) == direct(0)
        assert backend.batches == [1]


def open_request(server: Running, seed: int) -> socket.socket:
    """Send a whole request and return its open connection."""
    return send(server.url, encoded(noise(seed)), announced=None)


def test_a_client_that_leaves_in_the_midst_of_its_upload_frees_its_place() -> None:
    with gated() as (server, _, _pool):
        connection = send(server.url, b"half", announced=100_000)
        wait_until(lambda: server.service.memory.taken > 0)
        assert server.service.places.taken == 1
        connection.close()
        wait_until(lambda: server.service.places.taken == server.service.memory.taken == 0)


def test_an_answer_after_the_deadline_is_none() -> None:
    with gated(deadline=0.2) as (server, backend, _):
        assert code(post(server, 1)) == "504 deadline"
        assert server.service.places.taken == 0
        backend.gate.release()


def test_an_upload_that_does_not_end_is_given_up() -> None:
    with gated(deadline=0.2) as (server, _, _pool):
        connection = send(server.url, b"half", announced=100_000)
        assert connection.recv(12) == b"HTTP/1.1 408"
        connection.close()


def test_numbers_that_do_not_arrive_are_given_up_and_hold_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with running(settings=Settings(deadline=0.5)) as server:
        slow, leaving = (send_numbers(server.url) for _ in range(2))
        wait_until(lambda: server.service.memory.taken > 0)
        leaving.close()
        assert slow.recv(12) == b"HTTP/1.1 408"
        slow.close()
        wait_until(lambda: server.service.memory.taken == 0)
    assert "fault" not in caplog.text


def send_numbers(url: str) -> socket.socket:
    """Send the beginning of a request about numbers and return its open connection."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = (
        b"POST /v1/agreement HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 999\r\n"
    )
    connection.sendall(head + b'\r\n{"scores": [0.1,')
    return connection


def test_an_explanation_keeps_its_place_and_pixels_until_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, drawn = threading.Event(), threading.Event()

    async def draw(*_: object, **__: object) -> bytes:
        drawing.set()
        await asyncio.to_thread(drawn.wait, PATIENCE)
        return b"png"

    with running() as server, server.client() as client, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(server.service.background, "run", draw)
        answer = pool.submit(client.post, "/v1/explain", files={"image": encoded(noise(1))})
        drawing.wait(PATIENCE)
        held = (server.service.places.taken, server.service.pixels.out)
        drawn.set()
        assert held == (1, 48 * 64)
        assert answer.result().content == b"png"
        assert server.service.places.taken == server.service.pixels.out == 0


def test_bytes_of_all_uploads_together_are_limited() -> None:
    with gated(held_bytes=30_000) as (server, backend, pool):
        waiting = [pool.submit(post, server, seed) for seed in range(2)]  # 9 kB each
        wait_until(lambda: server.service.memory.taken > 18_000)
        connection = send(server.url, bytes(15_000), announced=None)
        assert connection.recv(12) == b"HTTP/1.1 429"
        connection.close()
        backend.gate.release()
        backend.gate.release()
        assert [value(answer) for answer in waiting] == [direct(0), direct(1)]


def test_requests_are_refused_until_the_model_is_there() -> None:
    loaded = threading.Event()

    from qdebias.service.server import Listening, make_server
    from qdebias.service.service import Served, Service, serve_models

    def load() -> Served:
        loaded.wait()
        return serve_models({"fake": FakeBackend()}, Settings())

    service = Service(load, Settings())
    server = make_server(service, Listening(port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    here = Running(url=f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", service=service)
    with here.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        for answer in (post(here, 1), client.get("/v1/models"), client.get("/v1/methods")):
            assert code(answer) == "503 not_ready"
            assert answer.headers["retry-after"] == "5"
        loaded.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert post(here, 1).status_code == 200
    server.should_exit = True
    thread.join()


def test_it_is_not_ready_while_no_decoder_can_work() -> None:
    with running() as here, here.client() as client:
        sound = [(process, process._command) for process in here.service.decoders._all]
        for process, _ in sound:
            process._command = [sys.executable, "-c", "raise SystemExit(1)"]
            process.kill()
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/readyz").json() == {"status": "no_decoder"}
        assert client.get("/healthz").status_code == 200
        for process, command in sound:
            process._command = command
        wait_until(lambda: client.get("/readyz").json() == {"status": "ok"})
        assert post(here, 1).status_code == 200


def test_decoders_that_die_idle_come_back_whoever_asks() -> None:
    with (
        running() as here,
        health_server(here.service, "127.0.0.1", 0) as listening,
        httpx2.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False) as health,
    ):
        for process in here.service.decoders._all:
            assert process.process is not None
            process.process.kill()
        wait_until(lambda: health.get("/readyz").json() == {"status": "no_decoder"})
        wait_until(lambda: health.get("/readyz").json() == {"status": "ok"})


def test_health_has_a_port_of_its_own_that_waits_for_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdebias.service.service.STUCK_SECONDS", 1.0)
    with (
        running() as here,
        health_server(here.service, "127.0.0.1", 0) as listening,
        httpx2.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False) as health,
    ):
        for path, status, body in (
            ("/healthz", 200, {"status": "ok"}),
            ("/readyz", 200, {"status": "ok"}),
            ("/v1/models", 404, {"status": None}),
        ):
            answer = health.get(path)
            assert (answer.status_code, answer.json()) == (status, body)
        frozen = threading.Event()
        loop = here.service.batcher._task.get_loop()  # type: ignore[union-attr]
        loop.call_soon_threadsafe(frozen.wait)
        try:
            assert health.get("/healthz").json() == {"status": "ok"}
            wait_until(lambda: health.get("/healthz").json() == {"status": "stuck"})
            assert health.get("/healthz").status_code == 503
        finally:
            frozen.set()
        wait_until(lambda: health.get("/healthz").status_code == 200)
