"""The server process: Uvicorn with limits on connections, graceful shutdown, and a separate health port."""

import asyncio
import ipaddress
import os
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qdebias.errors import SettingError
from qdebias.service.app import create_app
from qdebias.service.guard import Keys
from qdebias.service.service import Service
from qdebias.system.processes import return_large_blocks

GRACE_SECONDS = 5.0  # after `drain`, until a process that still runs is ended, even if its threads are busy
LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "[::1]"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The address of a server and who may use it."""

    host: str = "127.0.0.1"
    port: int = 8765  # 0 takes a free one
    health_port: int | None = None  # where a separate thread answers /healthz and /readyz in plain HTTP
    keys: Keys = field(default_factory=Keys)
    open_to_all: bool = False  # whether other machines may use it without a key
    names: Sequence[str] = ()  # accepted host names beside those of this machine; empty: only these, or any with keys
    certificate: Path | None = None  # PEM file of the TLS certificate chain; None for plain HTTP
    private_key: Path | None = None  # PEM file
    proxies: Sequence[str] = ()  # addresses of proxies whose X-Forwarded-For and -Proto are trusted

    def __post_init__(self) -> None:
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            loopback = self.host == "localhost"
        if not (loopback or self.keys or self.open_to_all):
            raise SettingError(
                f"{self.host} can be reached from other machines, and there are no keys; set QDEBIAS_SERVE_KEYS or "
                f"--keys-file, or pass --open-to-all"
            )
        if (self.certificate is None) != (self.private_key is None):
            raise SettingError("TLS needs both --certificate and --private-key")
        if self.certificate is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.private_key)
            except OSError as error:  # ssl.SSLError is one
                pair = f"{self.certificate} and {self.private_key}"
                raise SettingError(f"{pair} cannot be read, or are no pair ({error})") from error

    @property
    def allowed_names(self) -> frozenset[str]:
        """The accepted host names; empty for any."""
        if self.names:
            return frozenset(name.lower() for name in self.names) | LOCAL_NAMES
        return frozenset() if self.keys or self.open_to_all else LOCAL_NAMES


class Server(uvicorn.Server):
    """Uvicorn, with /readyz reporting a shutdown as soon as it begins."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        service.on_failure = partial(setattr, self, "should_exit", True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish the requests in progress and take no others; end the process soon after `drain` in any case."""
        end = threading.Timer(self._service.settings.drain + GRACE_SECONDS, os._exit, (1,))
        end.daemon = True
        end.start()
        self._service.stopping = True
        super().handle_exit(sig, frame)


def make_server(service: Service, listening: Listening) -> Server:
    """Return a server that is ready to run."""
    config = server_config(
        create_app(service, keys=listening.keys, hosts=listening.allowed_names),
        deadline=service.settings.deadline,
        host=listening.host,
        port=listening.port,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(service.settings.drain)),
        proxy_headers=bool(listening.proxies),
        forwarded_allow_ips=list(listening.proxies),
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.private_key,
    )
    return Server(config, service)


def run(service: Service, listening: Listening) -> None:
    """Serve until the process is stopped; raises an error if the models cannot be loaded or the port is taken."""
    return_large_blocks()
    try:
        with ExitStack() as stack:
            if listening.health_port is not None:
                stack.enter_context(health_server(service, listening.host, listening.health_port))
            make_server(service, listening).run()
    except SystemExit as end:  # Uvicorn's reaction to an OSError of its socket
        if not isinstance(end.__context__, OSError):
            raise
        raise SettingError(
            f"{end.__context__.strerror}; stop what listens there, or choose another --health-port or --port"
        ) from end
    if service.failure is not None:
        raise service.failure


HEAD_BYTES = 64 * 1024  # largest request line with all headers
PIECE_BYTES = 64 * 1024  # read from a socket before other connections have their turn
MOST_AHEAD = 8  # requests that a client may send before the first is answered


class _Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """Closes a connection whose headers are too slow or too large, or whose body continues after the answer."""

    deadline: float  # seconds for the headers of a request to arrive

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Uvicorn's)
        super().__init__(*args, **kwargs)
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._head_bytes = 0
        self._began = 0.0
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._head_bytes += nbytes
        self.data_received(bytes(self._buffer[:nbytes]))
        if self._limit is not None and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:  # the parser answers any exception with status 400
            raise ValueError("requests are sent without waiting for answers")
        super().on_message_begin()
        self._began = self.loop.time()  # the deadline of the application counts from the first byte
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers behind the body, which nobody reads, are dropped."""
        if self._limit is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self.scope["state"]["began"] = self._began
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body has arrived, even after the answer."""
        super().on_message_complete()
        self.cycle.more_body = False

    def on_response_complete(self) -> None:
        """Give a client that still sends its body some time to read the answer."""
        super().on_response_complete()
        cycle = self.cycle

        def close_unless_complete() -> None:
            if cycle.more_body and not self.transport.is_closing():
                self.transport.close()

        if cycle.more_body:
            self.loop.call_later(self.timeout_keep_alive, close_unless_complete)

    def _await_head(self) -> None:
        if self._limit is None:
            self._head_bytes = 0
            self._limit = self.loop.call_later(self.deadline, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def server_config(app: ASGIApp, *, deadline: float, **more: Any) -> uvicorn.Config:  # noqa: ANN401 (Uvicorn's)
    """Return Uvicorn's configuration for an application: a deadline for headers, and no logs or headers of its own."""
    connection = type("Connection", (_Connection,), {"deadline": deadline})
    return uvicorn.Config(
        app, http=connection, log_config=None, access_log=False, server_header=False, ws="none", **more
    )


@contextmanager
def health_server(service: Service, host: str, port: int) -> Iterator[socket]:
    """Answer /healthz and /readyz on a separate port, in a thread that does not wait for the service's event loop.

    Yields the listening socket; raises SystemExit if the port is taken.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        statuses = {"/healthz": "stuck" if service.stuck else "ok", "/readyz": service.status}
        status = statuses.get(scope["path"])
        code = 404 if status is None else 200 if status == "ok" else 503
        await JSONResponse({"status": status}, code)(scope, receive, send)

    config = server_config(answer, deadline=service.settings.deadline, host=host, port=port, lifespan="off")
    server, listening = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="qdebias-health", daemon=True)
    thread.start()
    try:
        yield listening
    finally:
        server.should_exit = True
        thread.join(timeout=5)
