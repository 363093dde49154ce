"""Clients that send slowly, too much or nothing: their connections end, and others notice nothing."""

import socket
import time
from collections.abc import Iterator

import pytest

from qdebias.service.limits import Settings
from serving import PATIENCE, Running, encoded, noise, running


@pytest.fixture(scope="module")
def hurried() -> Iterator[Running]:
    """A server with a short deadline."""
    with running(settings=Settings(deadline=0.5)) as server:
        yield server


def connected(server: Running, *pieces: bytes) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    for piece in pieces:
        connection.sendall(piece)
    return connection


def heard(connection: socket.socket) -> bytes:
    """Return all that the server sends until it closes the connection."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    connection.close()
    return b"".join(pieces)


@pytest.mark.parametrize("said", [b"", b"POST /v1/sc", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: "])
def test_headers_that_do_not_arrive_end_the_connection(hurried: Running, said: bytes) -> None:
    assert heard(connected(hurried, said)) == b""


def test_so_do_those_of_a_second_request(hurried: Running) -> None:
    first = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    assert heard(connected(hurried, first, b"GET /healthz HT")).count(b"HTTP/1.1 200") == 1


def test_headers_that_are_too_large_are_refused(hurried: Running) -> None:
    connection = connected(hurried, b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 200_000)
    assert heard(connection)[:12] in (b"HTTP/1.1 400", b"")


ROUTES = ["/v1/score", "/v1/score/batch", "/v1/explain", "/v1/agreement", "/v1/models", "/nothing", "/healthz", "/"]


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_trickles_ends_the_connection_on_every_route(hurried: Running, route: str) -> None:
    head = f"POST {route} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"
    connection = connected(hurried, head.encode())
    connection.settimeout(0.05)
    start, said = time.monotonic(), b""
    while time.monotonic() - start < PATIENCE:
        try:
            connection.sendall(b" ")
            piece = connection.recv(4096)
        except TimeoutError:
            continue
        except ConnectionError:
            break
        said += piece
        if not piece:
            break
    connection.close()
    assert time.monotonic() - start < PATIENCE
    assert said[:12] in (b"HTTP/1.1 408", b"HTTP/1.1 404", b"HTTP/1.1 405")


def test_an_image_in_chunks_of_one_byte_is_scored(server: Running) -> None:
    image = encoded(noise(1, 32, 32))
    body = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n' + image + b"\r\n--x--\r\n"
    head = (
        b"POST /v1/score HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: multipart/form-data; boundary=x\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert heard(connected(server, head, chunks))[:12] == b"HTTP/1.1 200"
