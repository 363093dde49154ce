"""Fetching by URL against false name servers and false hosts; nothing here touches the network."""

import asyncio
from collections.abc import Iterable

import httpcore2
import pytest

from qdebias.service.fetch import Fetcher, check_url
from qdebias.service.refusal import Reason, Refusal

PUBLIC = "93.184.216.34"
BODY = b"a picture, say"


def answer(status: int = 200, body: bytes = BODY, **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        *(f"{name}: {value}" for name, value in headers.items()),
        "connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


class Network(httpcore2.AsyncNetworkBackend):
    """Gives prepared answers, one a connection, and remembers where connections went."""

    def __init__(self, answers: Iterable[bytes]) -> None:
        self.answers = list(answers)
        self.connected: list[tuple[str, int]] = []
        self.sent: list[bytes] = []

    async def connect_tcp(self, host: str, port: int, **_: object) -> httpcore2.AsyncNetworkStream:  # type: ignore[override]
        self.connected.append((host, port))
        network = self

        class Stream(httpcore2.AsyncMockStream):
            async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
                network.sent.append(buffer)

        return Stream([self.answers.pop(0)])


def fetch(url: str, network: Network, names: dict[str, list[list[str]]], most: int = 1000) -> bytes:
    """Fetch with a name server that gives each name its next answer."""

    async def resolver(host: str, port: int) -> list[str]:  # noqa: ARG001
        if host not in names:
            raise OSError("no such name at 10.1.2.3")
        return names[host].pop(0)

    return asyncio.run(Fetcher(most=most, resolver=resolver, network=network).fetch(url))


def reason(url: str, network: Network, names: dict[str, list[list[str]]], **settings: int) -> Reason:
    with pytest.raises(Refusal) as caught:
        fetch(url, network, names, **settings)
    return caught.value.reason


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    network = Network([answer()])
    rebinding = {"a.example": [[PUBLIC], ["127.0.0.1"]]}  # a second question would get another answer
    assert fetch("http://a.example/x.png", network, rebinding) == BODY
    assert network.connected == [(PUBLIC, 80)]
    assert b"Host: a.example\r\n" in b"".join(network.sent) or b"host: a.example\r\n" in b"".join(network.sent)
    assert rebinding == {"a.example": [["127.0.0.1"]]}


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
        ["fd00:ec2::254"],
        [PUBLIC, "10.0.0.1"],
        [],
    ],
)
def test_a_name_with_any_address_that_is_not_public_is_refused(addresses: list[str]) -> None:
    network = Network([])
    assert reason("http://a.example/", network, {"a.example": [addresses]}) is Reason.URL_REFUSED
    assert network.connected == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "0",
        "localtest.me.",
    ],
)
def test_literal_addresses_pass_the_same_gate(host: str) -> None:
    """The system's resolver understands every one of these forms; here it is requested real, without the network."""
    network = Network([])
    names = {"localtest.me.": [["127.0.0.1"]], "localhost": [["::1", "127.0.0.1"]]}

    async def resolver(name: str, port: int) -> list[str]:
        if name in names:
            return names[name][0]
        found = await asyncio.get_running_loop().getaddrinfo(name, port)
        return [str(entry[4][0]) for entry in found]

    with pytest.raises(Refusal) as caught:
        asyncio.run(Fetcher(most=10, resolver=resolver, network=network).fetch(f"http://{host}/latest/meta-data/"))
    assert caught.value.reason is Reason.URL_REFUSED
    assert network.connected == []


def test_each_redirect_passes_the_gate_again() -> None:
    network = Network([answer(302, b"", location="http://b.example/"), answer()])
    assert fetch("http://a.example/", network, {"a.example": [[PUBLIC]], "b.example": [["8.8.8.8"]]}) == BODY
    assert network.connected == [(PUBLIC, 80), ("8.8.8.8", 80)]

    for target in (
        "http://inside.example/",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "http://a.example:22/",
        "gopher://a.example/",
        "//inside.example/x",
    ):
        network = Network([answer(302, b"", location=target)])
        names = {"a.example": [[PUBLIC]], "inside.example": [["10.0.0.1"]], "169.254.169.254": [["169.254.169.254"]]}
        assert reason("http://a.example/", network, names) is Reason.URL_REFUSED
        assert network.connected == [(PUBLIC, 80)]


def test_the_same_name_is_resolved_again_behind_a_redirect() -> None:
    network = Network([answer(302, b"", location="/again")])
    assert reason("http://a.example/", network, {"a.example": [[PUBLIC], ["127.0.0.1"]]}) is Reason.URL_REFUSED


def test_redirects_end() -> None:
    network = Network([answer(302, b"", location="/")] * 9)
    assert reason("http://a.example/", network, {"a.example": [[PUBLIC]] * 9}) is Reason.URL_FAILED
    assert len(network.connected) == 4


def test_a_body_is_cut_off_at_the_limit() -> None:
    assert (
        reason("http://a.example/", Network([answer(body=bytes(101))]), {"a.example": [[PUBLIC]]}, most=100)
        is Reason.URL_FAILED
    )
    assert fetch("http://a.example/", Network([answer(body=bytes(100))]), {"a.example": [[PUBLIC]]}, most=100) == bytes(
        100
    )


@pytest.mark.parametrize(
    "bad",
    [answer(404), answer(500), answer(301, b""), b"", b"SSH-2.0-OpenSSH\r\n", answer(206, location="x"), b"\xff" * 100],
)
def test_what_is_no_answer_is_refused_without_saying_more(bad: bytes) -> None:
    assert reason("http://a.example/", Network([bad]), {"a.example": [[PUBLIC]]}) is Reason.URL_FAILED


def test_a_name_that_is_not_known_is_refused() -> None:
    assert reason("http://nowhere.example/", Network([]), {}) is Reason.URL_FAILED


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://a.example/",
        "data:image/png;base64,AA",
        "http://",
        "http:///x",
        "http://user@a.example/",
        "http://user:word@a.example/",
        "http://a.example@127.0.0.1/",
        "http://a.example:22/",
        "http://a.example:443/",
        "https://a.example:80/",
        "http://a.example:99999/",
        "http://a.example/\r\nx: y",
        "http://a.example/ x",
        "http://a.example\\@127.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://[::1",
        "http://a.example/" + "x" * 3000,
        "http://ex\u00e4mple/",
        "gopher://a.example/",
        "jar:http://a.example/",
        "http://%31%32%37.0.0.1/",
    ],
)
def test_urls_of_odd_forms_are_refused(url: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_url(url)
    assert caught.value.reason is Reason.URL_REFUSED
