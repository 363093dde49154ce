"""TLS by the server itself, and by nginx with the lines that the documentation gives."""

import logging
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import trustme

from qdebias.backends.fake import FakeBackend
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from reference_data import skip_absent
from serving import PATIENCE, Gated, Running, code, encoded, noise, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
NAME = "quality.example.org"
OTHER = "127.0.0.2"
"""Address of a client, told apart from that of nginx."""
CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
        {location}
    }}
}}
"""


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A folder with a certificate and its key, and a client's settings that trust it."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    issued = authority.issue_cert(NAME, "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "chain.pem", append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return folder, context


def direct(seed: int) -> float:
    return Scorer(backend=FakeBackend()).score(noise(seed)).value


def test_the_server_speaks_tls_and_nothing_else(trusted: tuple[Path, ssl.SSLContext]) -> None:
    folder, context = trusted
    with running(certificate=folder / "chain.pem", private_key=folder / "key.pem") as server:
        with server.client(verify=context) as client:
            answer = client.post("/v1/score", files={"image": encoded(noise(1))})
            assert answer.json()["score"] == direct(1)
        with server.client(verify=ssl.create_default_context()) as client, pytest.raises(httpx2.ConnectError):
            client.get("/healthz")
        with pytest.raises(httpx2.TransportError):
            httpx2.get(server.url.replace("https", "http") + "/healthz", trust_env=False)


def documented(server: Running) -> str:
    """Return the lines for nginx in docs/service.md, with the address of a server."""
    (found,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "service.md").read_text(), re.DOTALL)
    assert "http://127.0.0.1:8765;" in found
    return str(found.replace("http://127.0.0.1:8765", server.url))


@contextmanager
def nginx(location: str, folder: Path) -> Iterator[str]:
    """Run nginx with this in its configuration and yield its address."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        skip_absent("no nginx was found; install it, on Debian with: apt-get install nginx")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = folder / "nginx.conf"
    path.write_text(CONFIGURATION.format(folder=folder, port=port, location=location))
    process = subprocess.Popen([program, "-e", "stderr", "-p", str(folder), "-c", str(path)], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, process.communicate()
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nginx_before_it_as_documented(trusted: tuple[Path, ssl.SSLContext], caplog: pytest.LogCaptureFixture) -> None:
    folder, context = trusted
    caplog.set_level(logging.INFO, logger="qdebias.service")
    with (
        running(names=[NAME], proxies=["127.0.0.1"]) as server,
        nginx(documented(server), folder) as url,
        httpx2.HTTPTransport(verify=context, local_address=OTHER, trust_env=False) as transport,
        httpx2.Client(base_url=url, transport=transport, timeout=PATIENCE, trust_env=False) as client,
    ):
        named = {"host": NAME, "x-forwarded-for": "192.0.2.7"}
        sent = client.post("/v1/score", files={"image": encoded(noise(1))}, headers=named)
        assert sent.json()["score"] == direct(1)
        assert client.get("/", headers=named).text.startswith("<!doctype html>")
        assert code(client.get("/v1/models", headers={"host": "evil.example"})) == "403 unknown_host"
        large = client.post("/v1/score", files={"image": bytes(33 << 20)}, headers=named)
        assert (large.status_code, "nginx" in large.text) == (413, True)
        middling = client.post("/v1/score", files={"image": bytes(21 << 20)}, headers=named)
        assert code(middling) == "413 too_large"
    asked = [record.msg for record in caplog.records if isinstance(record.msg, dict) and "client" in record.msg]
    assert {request["client"] for request in asked} == {OTHER}  # neither nginx's, nor what the client invented


def test_a_client_that_leaves_nginx_frees_its_place(trusted: tuple[Path, ssl.SSLContext]) -> None:
    folder, context = trusted
    backend = Gated()
    backend.gate.release()
    with (
        running({"gated": backend}, Settings(method="vanilla")) as server,
        nginx(documented(server), folder) as url,
        httpx2.Client(base_url=url, verify=context, trust_env=False) as client,
    ):
        backend.busy.clear()
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/v1/score", files={"image": encoded(noise(1))}, timeout=httpx2.Timeout(PATIENCE, read=0.5))
        client.close()
        wait_until(lambda: server.service.places.taken == 0)
        backend.gate.release()
