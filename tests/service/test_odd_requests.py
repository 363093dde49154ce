"""Requests of kinds that held up other servers: refused, with nothing held and no long call of the event loop."""

import asyncio
import gc
import gzip
import json
import re
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx2
import pytest

from qdebias.service.limits import Settings
from qdebias.service.server import MOST_AHEAD
from serving import PATIENCE, Running, encoded, noise, running, wait_until

LONGEST_CALL = 0.02
"""Processor time that one call of the event loop may take, in seconds; garbage of the whole test process left out."""


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The processor time of each call of the server's event loop meanwhile."""
    found, run = [0.0], asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        start = time.thread_time()
        run(handle)
        if threading.current_thread().name == "server":
            found.append(time.thread_time() - start)

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    gc.collect()
    gc.disable()
    yield found
    gc.enable()


Answer = TypeVar("Answer")


def quickly(longest: list[float], ask: Callable[[], Answer]) -> Answer:
    """Return what is answered; of three times, no call may take long in one: a busy machine makes some longer."""
    for _ in range(3):
        longest[:] = [0.0]
        answer = ask()
        if max(longest) < LONGEST_CALL:
            return answer
    raise AssertionError(f"a call of the event loop took {max(longest):.3f} s of processor time")


TEXT, PACKED, FORM = (
    {"content-type": kind} for kind in ("application/json", "application/msgpack", "multipart/form-data; boundary=x")
)
HEAD = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'
END = b"\r\n--x--\r\n"
BODIES = {
    "lists in lists": ("/v1/score", TEXT, b"[" * 2_000_000),
    "objects in objects": ("/v1/score", TEXT, b'{"image":' * 200_000),
    "many keys": ("/v1/score", TEXT, b"{" + b",".join(b'"k%d":1' % number for number in range(200_000)) + b"}"),
    "one key again and again": ("/v1/reward", TEXT, b"{" + b'"lossy":true,' * 200_000 + b'"images":[]}'),
    "one key twice": ("/v1/score", TEXT, b'{"method":"a","method":"b","image":{"base64":"AA=="}}'),
    "a number of a megabyte": ("/v1/score", TEXT, b'{"image":' + b"1" * 1_000_000 + b"}"),
    "20,000 long numbers": ("/v1/agreement", TEXT, b'{"scores":[' + b",".join([b"0." + b"0" * 80] * 20_000) + b"]}"),
    "a text of 20 MB": ("/v1/score", TEXT, b'{"image":{"base64":"' + b"A" * 20_000_000 + b'"}}'),
    "a text of escapes": ("/v1/score", TEXT, b'{"image":{"base64":"' + b"\\u0041" * 700_000 + b'"}}'),
    "many texts": ("/v1/score/batch", TEXT, b'["' + b'","'.join([b"a" * 4000] * 1000) + b'"]'),
    "white space": ("/v1/score", TEXT, b" " * 5_000_000 + b"{}"),
    "UTF-16": ("/v1/score", TEXT, '{"image":{}}'.encode("utf-16")),
    "zeros": ("/v1/score", TEXT, bytes(1_000_000)),
    "line ends in an image": ("/v1/score", FORM, HEAD + b"\r\n" * 2_000_000 + END),
    "beginnings of a boundary": ("/v1/score", FORM, HEAD + b"\r\n--" * 1_000_000 + END),
    "thousands of parts": ("/v1/score/batch", FORM, HEAD.replace(b"image", b"images") * 20_000 + END),
    "thousands of texts": ("/v1/score", FORM, HEAD.replace(b'image"; filename="a', b"method") * 20_000 + END),
    "thousands of headers": ("/v1/score", FORM, b"--x\r\n" + b"a:b\r\n" * 200_000),
    "thousands of parameters": ("/v1/score", FORM, HEAD.replace(b'; filename="a"', b";a=b" * 1000) + END),
    "one long header": ("/v1/score", FORM, b"--x\r\na: " + b"b" * 2_000_000),
    "no part, but lines": ("/v1/score", FORM, b"\r\n" * 1_000_000),
    "a long boundary": ("/v1/score", {"content-type": "multipart/form-data; boundary=" + "x" * 900}, HEAD),
    "a long type": ("/v1/score", {"content-type": "multipart/form-data" + "; a=b" * 8000 + "; boundary=x"}, HEAD + END),
    "a list of 4 billion": ("/v1/reward", PACKED, b"\x81\xa6images\xdd\xff\xff\xff\xff" + b"\xc4\x00" * 500_000),
    "maps of 4 billion": ("/v1/reward", PACKED, b"\xdf\xff\xff\xff\xff" * 200_000),
    "4 GB of bytes": ("/v1/reward", PACKED, b"\x81\xa6images\x91\xc6\xff\xff\xff\xffab"),
    "4 GB of an extension": ("/v1/reward", PACKED, b"\x81\xa6images\x91\xc9\xff\xff\xff\xff\x01ab"),
    "a terabyte of pixels": (
        "/v1/reward",
        PACKED,
        b"\x81\xa6images\x91\x83\xa6height\xce\x00\x10\x00\x00\xa5width\xce\x00\x10\x00\x00\xa6pixels\xc4\x01a",
    ),
    "240 MB that are not the pixels they should be": (
        "/v1/reward",
        PACKED,
        b"\x81\xa6images\x91\x83\xa6height\x01\xa5width\x01\xa6pixels\xc6\x0e\x4e\x1c\x00" + bytes(240_000_000),
    ),
    "gzip": ("/v1/score", {**TEXT, "content-encoding": "gzip"}, gzip.compress(b"[" * 20_000_000)),
    "deflate": ("/v1/score", {**FORM, "content-encoding": "deflate"}, zlib.compress(HEAD + bytes(20_000_000) + END)),
}


@pytest.mark.parametrize("kind", BODIES)
def test_no_body_holds_the_event_loop(client: httpx2.Client, server: Running, longest: list[float], kind: str) -> None:
    path, headers, body = BODIES[kind]
    answer = quickly(longest, lambda: client.post(path, content=body, headers=headers))
    assert answer.status_code in (400, 413, 415, 422), answer.text
    assert server.service.places.taken == server.service.memory.taken == server.service.background_places.taken == 0


def test_the_first_requests_hold_the_event_loop_no_longer_than_others(longest: list[float]) -> None:
    def ask_a_new_server() -> list[int]:
        with running() as server, server.client() as client:
            longest[:] = [0.0]
            paths = ("/docs", "/openapi.json", "/metrics", "/v1/methods", "/v1/models", "/")
            score = client.post("/v1/score", files={"image": encoded(noise(1))})
            return [score.status_code, *(client.get(path).status_code for path in paths)]

    assert set(quickly(longest, ask_a_new_server)) == {200}


def asked(server: Running, data: bytes) -> bytes:
    """Send bytes and return what comes back until the connection ends, or nothing has come for a second."""
    host, port = server.url.removeprefix("http://").split(":")
    found = b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                found += piece
                connection.settimeout(1)
        except (ConnectionError, TimeoutError):
            pass
    return found


START = b"POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
CHUNKED = START + b"transfer-encoding: chunked\r\n\r\n"
GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
RAW = {
    "chunks of one byte": CHUNKED + b"1\r\n \r\n" * 200_000 + b"0\r\n\r\n",
    "a long extension of a chunk": CHUNKED + b"1;" + b"a" * 1_000_000 + b"\r\n \r\n0\r\n\r\n",
    "headers behind the body": CHUNKED + b"0\r\n" + b"a: b\r\n" * 200_000 + b"\r\n",
    "a length and chunks": START + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"content-length: 5\r\ncontent-length: 6\r\n\r\n{}    ",
    "a length below 0": START + b"content-length: -1\r\n\r\n",
    "a length of 30 digits": START + b"content-length: " + b"9" * 30 + b"\r\n\r\n",
    "more than was announced": START + b"content-length: 1\r\n\r\n{}}}}}}}",
    "an expectation": START + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    "many headers": GET % b"/v1/models" + b"a:b\r\n" * 10_000 + b"\r\n",
    "a long path": GET % (b"/" + b"%41" * 20_000) + b"\r\n",
    "a long query": GET % (b"/v1/models?" + b"a=1&" * 10_000) + b"\r\n",
    "a long key": GET % b"/" + b"authorization: Basic " + b"A" * 60_000 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(1000),
}


@pytest.mark.parametrize("kind", RAW)
def test_no_request_holds_the_event_loop(server: Running, longest: list[float], kind: str) -> None:
    answers = re.findall(rb"HTTP/1.1 (\d+)", quickly(longest, lambda: asked(server, RAW[kind])))
    assert answers
    assert set(answers) <= {b"100", b"200", b"400", b"404"}
    wait_until(lambda: server.service.places.taken == server.service.memory.taken == 0)


def test_headers_behind_a_body_are_not_kept(server: Running) -> None:
    tracemalloc.start()
    try:
        asked(server, RAW["headers behind the body"])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000_000


@pytest.mark.parametrize(
    "request_",
    [b"GET /healthz HTTP/1.1\r\n\r\n", START.replace(b"connection: close\r\n", b"content-length: 0\r\n\r\n")],
)
def test_a_client_that_does_not_wait_for_answers_is_sent_away(
    server: Running, longest: list[float], request_: bytes
) -> None:
    few = asked(server, request_ * MOST_AHEAD)
    assert few.count(b"HTTP/1.1 ") == MOST_AHEAD
    many = quickly(longest, lambda: asked(server, request_ * 50_000))
    assert many.count(b"HTTP/1.1 ") <= 2 * MOST_AHEAD


def test_every_method_is_answered_on_every_address(client: httpx2.Client) -> None:
    paths = ["/", "/docs", "/main.js", "/healthz", "/metrics", "/nothing", *client.get("/openapi.json").json()["paths"]]
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "a" * 24,
    }
    for path in paths:
        for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
            assert client.request(method, path).status_code in (200, 404, 405), (method, path)
        assert client.get(path, headers=upgrade).status_code in (200, 404, 405), path


def test_the_deadline_counts_from_the_first_byte() -> None:
    with running(settings=Settings(deadline=3)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            start = time.monotonic()
            connection.sendall(START)
            time.sleep(2.5)  # the headers are late; so is the body, which never comes
            connection.sendall(b"content-length: 9\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 408"
        assert time.monotonic() - start < 4.5


def test_a_sound_request_is_answered_after_all_of_these(client: httpx2.Client) -> None:
    assert client.post("/v1/score", files={"image": encoded(noise(1))}).status_code == 200
    assert json.loads(client.get("/readyz").text) == {"status": "ok"}
