"""Who is let in, what surrounds an answer, and what stands in the log."""

import base64
import logging
import socket
import time

import httpx2
import pytest

from serving import PATIENCE, code, encoded, noise, running

KEY = "correct-horse-battery"

ROUTES = [
    ("GET", "/"),
    ("GET", "/main.js"),
    ("GET", "/openapi.json"),
    ("GET", "/metrics"),
    ("GET", "/v1/methods"),
    ("GET", "/v1/models"),
    ("POST", "/v1/score"),
    ("POST", "/v1/score/batch"),
    ("POST", "/v1/explain"),
    ("POST", "/v1/agreement"),
    ("GET", "/nothing"),
    ("GET", "//healthz"),
    ("GET", "/healthz/"),
    ("GET", "/HEALTHZ"),
    ("GET", "/docs"),
    ("OPTIONS", "/v1/score"),
    ("GET", "/healthz%2f..%2fmetrics"),
]


def test_every_route_but_health_needs_a_key() -> None:
    from qdebias.service.guard import Keys

    with running(keys=Keys((KEY,))) as server, server.client() as client:
        for method, path in ROUTES:
            answer = client.request(method, path)
            assert code(answer) == "401 no_key", path
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert (
                code(client.request(method, path, headers={"authorization": "Bearer wrong-key-of-length"}))
                == "401 no_key"
            )
        for path in ("/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        password = base64.b64encode(f"me:{KEY}".encode()).decode()
        for header in (f"Bearer {KEY}", f"Basic {password}"):
            sent = client.post("/v1/score", files={"image": encoded(noise(1))}, headers={"authorization": header})
            assert sent.status_code == 200
            assert client.get("/", headers={"authorization": header}).status_code == 200
        described = client.get("/openapi.json", headers={"authorization": f"Bearer {KEY}"}).json()
        assert described["security"] == [{"key": []}, {"password": []}]


@pytest.mark.parametrize("pause", [0.02, 0.3])
def test_a_refused_upload_is_read_on_so_that_a_proxy_gets_the_answer(pause: float) -> None:
    from qdebias.service.guard import Keys

    size = 8_000_000
    with running(keys=Keys((KEY,))) as server:
        host = server.url.removeprefix("http://")
        link = socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), timeout=PATIENCE)
        link.sendall(
            f"POST /v1/score HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n".encode()
        )
        for _ in range(8):
            link.sendall(bytes(size // 8))
            time.sleep(pause)
        assert link.recv(4096).startswith(b"HTTP/1.1 401 ")
        link.close()


def test_pages_of_other_sites_are_kept_out(client: httpx2.Client) -> None:
    image = {"image": encoded(noise(1))}
    for site in ("cross-site", "same-site"):
        assert code(client.post("/v1/score", files=image, headers={"sec-fetch-site": site})) == "403 cross_site"
    for site in ("same-origin", "none"):
        assert client.post("/v1/score", files=image, headers={"sec-fetch-site": site}).status_code == 200


def test_so_they_are_where_a_browser_says_no_more_than_its_origin(client: httpx2.Client) -> None:
    image = {"image": encoded(noise(1))}
    for origin in ("http://evil.example", "https://127.0.0.1.evil.example", "null", "", "http://localhost:1"):
        assert code(client.post("/v1/score", files=image, headers={"origin": origin})) == "403 cross_site"
    for origin in ("http://127.0.0.1:8765", "https://127.0.0.1"):
        assert client.post("/v1/score", files=image, headers={"origin": origin}).status_code == 200
    assert client.get("/v1/models", headers={"origin": "http://evil.example"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[::2]:1"])
def test_a_foreign_name_for_this_machine_is_refused(client: httpx2.Client, host: str) -> None:
    answer = client.get("/v1/models", headers={"host": host})
    assert code(answer) == "403 unknown_host"
    assert "--name" in answer.json()["error"]["message"]
    for path in ("/healthz", "/readyz"):
        assert client.get(path, headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8765", "[::1]"])
def test_its_own_names_are_not(client: httpx2.Client, host: str) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_an_id_is_taken_over_only_if_it_is_harmless(client: httpx2.Client) -> None:
    assert client.get("/healthz", headers={"x-request-id": "job-7.a_B"}).headers["x-request-id"] == "job-7.a_B"
    for bad in ("a b", "x" * 65, '"}', "\u00e9".encode(), "<script>", "a%0d%0aset-cookie:x"):
        answer = client.get("/healthz", headers={b"x-request-id": bad if isinstance(bad, bytes) else bad.encode()})
        assert len(answer.headers["x-request-id"]) == 32
        assert "set-cookie" not in answer.headers


def test_every_answer_has_its_protective_headers(client: httpx2.Client) -> None:
    for path in ("/", "/v1/models", "/nothing", "/healthz"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "server" not in headers


def test_the_log_has_ids_and_no_names_or_content(caplog: pytest.LogCaptureFixture) -> None:
    secret = {"image": ("secret-holiday.png", encoded(noise(1)))}
    link = {"image": {"url": "http://private.example/a"}}
    caplog.set_level(logging.INFO, logger="qdebias.service")
    with running() as server, server.client() as client:  # what it logs is complete when it has ended
        client.post("/v1/score", files=secret, headers={"x-request-id": "id-1", "authorization": "Bearer hush-hush"})
        client.post("/v1/score", json=link, headers={"x-request-id": "id-2"})
    text = caplog.text
    assert "id-1" in text
    assert "id-2" in text
    for word in ("secret", "holiday", "hush", "private", "iVBOR", "base64"):
        assert word not in text
