"""The process: Uvicorn around the application, stopping with grace."""

import ipaddress
import os
import ssl
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from qdebias.errors import SettingError
from qdebias.service.app import create_app
from qdebias.service.connection import server_config
from qdebias.service.health import health_server
from qdebias.service.keys import Keys
from qdebias.service.service import Service

NO_KEYS = Keys()
GRACE_SECONDS = 5.0
"""A process that still lives so long after `drain` is ended at once, whatever a thread of it does."""
LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "[::1]"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a server listens and who is let in.

    Attributes:
        host: Address of the interface.
        port: TCP port; 0 takes a free one.
        health_port: Another one, on which a thread of its own answers /healthz and /readyz in plain HTTP; None: none.
        keys: Who may ask.
        open_to_all: Whether other machines may ask without a key.
        names: Host names by which the server may be addressed; without any: only as this machine where no keys are
            asked for, by any name where they are.
        certificate: PEM file of the TLS certificate chain; without one the server speaks plain HTTP.
        private_key: PEM file of its private key.
        proxies: Addresses of proxies whose X-Forwarded-For and -Proto are believed.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    health_port: int | None = None
    keys: Keys = NO_KEYS
    open_to_all: bool = False
    names: Sequence[str] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    proxies: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.keys and not self.open_to_all and not _is_loopback(self.host):
            raise SettingError(
                f"{self.host} can be reached from other machines, and there are no keys; set QDEBIAS_SERVE_KEYS or "
                f"--keys-file, or say --open-to-all"
            )
        if (self.certificate is None) != (self.private_key is None):
            raise SettingError("TLS needs both --certificate and --private-key")
        if self.certificate is not None:
            _check_pair(self.certificate, self.private_key)

    @property
    def allowed_names(self) -> frozenset[str]:
        """The host names that are accepted; empty for any."""
        if self.names:
            return frozenset(name.lower() for name in self.names) | LOCAL_NAMES
        return frozenset() if self.keys or self.open_to_all else LOCAL_NAMES


class Server(uvicorn.Server):
    """Uvicorn, which says in /readyz that it stops as soon as it is told to.

    Args:
        config: Of Uvicorn.
        service: What answers.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take no new work, finish what is under way; end in any case soon after the time for it."""
        end = threading.Timer(self._service.settings.drain + GRACE_SECONDS, os._exit, (1,))
        end.daemon = True
        end.start()
        self._service.stopping = True
        super().handle_exit(sig, frame)


def make_server(service: Service, listening: Listening) -> Server:
    """Return a server that is ready to run."""

    def give_up() -> None:
        server.should_exit = True

    app = create_app(service, keys=listening.keys, hosts=listening.allowed_names, on_failure=give_up)
    config = server_config(
        app,
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
    server = Server(config, service)
    return server


def run(service: Service, listening: Listening) -> None:
    """Serve until the process is told to stop.

    Raises:
        QdebiasError: The models cannot be loaded, or the port is taken.
    """
    try:
        with ExitStack() as stack:
            if listening.health_port is not None:
                stack.enter_context(health_server(service, listening.host, listening.health_port))
            make_server(service, listening).run()
    except SystemExit as end:  # with which Uvicorn answers an OSError of its socket
        if not isinstance(end.__context__, OSError):
            raise
        raise SettingError(
            f"{end.__context__.strerror}; end what listens there, or choose another --health-port or --port"
        ) from end
    if service.failure is not None:
        raise service.failure


def _check_pair(certificate: Path, private_key: Path | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key)
    except OSError as error:  # ssl.SSLError is one
        raise SettingError(f"{certificate} and {private_key} cannot be read, or are no pair ({error})") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
