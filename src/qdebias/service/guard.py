"""The outermost layer of the application: request ids, keys, deadlines, response headers, logs and metrics.

Log lines are JSON objects on stderr, without content or names of images; metrics are in Prometheus' format.
"""

import asyncio
import base64
import hmac
import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qdebias.errors import SettingError
from qdebias.service.refusal import Reason, Refusal

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]

log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger("qdebias.service"),
    processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
)


def set_up_logs() -> None:
    """Send the log lines of this process to stderr as JSON; for a process that only serves."""
    handler = logging.StreamHandler(sys.stderr)
    finish: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=finish))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns about every malformed form


def end_process(error: BaseException) -> NoReturn:
    """End a broken process with one log line and exit status 1, so that a supervisor restarts it."""
    log.critical("the process is broken and ends", error=type(error).__name__, text=str(error))
    os._exit(1)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        counts, times = "Requests by route and HTTP status.", "Time from request to answer."
        self.requests = Counter("qdebias_requests", counts, ("route", "method", "status"), registry=own)
        buckets = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
        self.seconds = Histogram("qdebias_request_seconds", times, ("route",), buckets=buckets, registry=own)
        outcomes = "Images by outcome: scored, or the code of an error."
        self.images = Counter("qdebias_images", outcomes, ("outcome",), registry=own)
        together = "Images that went to the model together."
        self.batches = Histogram("qdebias_batch_images", together, buckets=(1, 2, 4, 8, 16, 32, 64), registry=own)
        self.model_seconds = Counter("qdebias_model_seconds", "Time in which the model worked.", registry=own)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Export a number that is read whenever the metrics are."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def batch(self, count: int, seconds: float) -> None:
        """Count a batch."""
        self.batches.observe(count)
        self.model_seconds.inc(seconds)


VARIABLE = "QDEBIAS_SERVE_KEYS"  # environment variable with the keys, separated by commas or white space
SHORTEST = 16  # shortest key that is accepted, in characters


class Keys:
    """The keys of a server; only their digests are kept."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._digests = tuple(map(_digest, keys))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, authorization: str) -> bool:
        """Return whether an Authorization header holds a key: `Bearer <key>`, or `Basic` with the key as password.

        The time that this takes depends on neither the key nor its position in the list.
        """
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                key = base64.b64decode(key, validate=True).decode().partition(":")[2]
            except ValueError:  # binascii.Error is one
                key = ""
        digest = _digest(key.strip()) if scheme.lower() in ("bearer", "basic") else b""
        return any([hmac.compare_digest(digest, known) for known in self._digests])  # noqa: C419 (compares all)


def load_keys(path: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
    """Return the keys of a file with one key a line, or of the environment variable."""
    if path is None:
        keys = environment.get(VARIABLE, "").replace(",", " ").split()
    else:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise SettingError(f"{path}: the keys cannot be read ({error})") from error
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise SettingError(f"{path}: holds no key; write one a line")
    if any(len(key) < SHORTEST or not key.isascii() or not key.isprintable() for key in keys):
        raise SettingError(
            f"{path or VARIABLE}: a key is shorter than {SHORTEST} characters, or not plain ASCII; make a longer one"
        )
    return Keys(tuple(keys))


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


OPEN_ROUTES = frozenset(("/healthz", "/readyz"))  # need no key
LINGER = 1.0  # seconds without new bytes, after which the rest of a refused request is not read any more
LONGEST_LINGER = 10.0  # seconds for all of the rest
_SOUND_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def problem(refusal: Refusal) -> dict[str, str]:
    """Return the fields of a refusal in an answer."""
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return {"code": refusal.reason.code, "message": refusal.message, "request_id": request_id}


def error_answer(refusal: Refusal) -> JSONResponse:
    """Return the HTTP answer of a refusal."""
    headers = dict(refusal.headers)
    if refusal.reason is Reason.NO_KEY:
        headers["www-authenticate"] = 'Basic realm="qdebias", charset="UTF-8"'
    return JSONResponse({"error": problem(refusal)}, status_code=refusal.reason.status, headers=headers)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The outermost layer of the application.

    `hosts` are the names by which the server may be addressed; empty allows any. They protect a server without keys
    from web pages that point their own name at this machine (DNS rebinding).
    """

    app: ASGIApp
    keys: Keys
    hosts: frozenset[str]
    metrics: Metrics
    deadline: float  # seconds from the first byte of a request until it is answered, or refused
    show_id: bool = True  # whether answers have the id in a header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        proposed = Headers(scope=scope).get("x-request-id", "")
        request_id = proposed if _SOUND_ID.fullmatch(proposed) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        start: float = scope.get("state", {}).get("began", time.monotonic())
        status = 0
        arrived = False
        method = scope["method"]
        if method == "HEAD":  # the server leaves out the body
            scope = {**scope, "method": "GET"}

        async def receive_noting() -> Message:
            nonlocal arrived
            message = await receive()
            arrived = not message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                if self.show_id:
                    out["x-request-id"] = request_id
            elif status >= 400 and not arrived and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _read_on(receive)
                message = {"type": "http.response.body"}
            await send(message)

        limit = asyncio.timeout_at(start + self.deadline)
        try:
            refusal = self._refusal(scope)
            answering = error_answer(refusal) if refusal else self.app
            async with limit:
                await answering(scope, receive_noting, send_with_headers)
        except BaseException as error:  # noqa: BLE001 (logged, and hidden from the client)
            late = Reason.DEADLINE if arrived else Reason.TOO_SLOW
            failure = late if limit.expired() else _failure(error)
            if status == 0:
                await error_answer(Refusal(failure))(scope, receive, send_with_headers)
        finally:
            self._note(scope, method, status, time.monotonic() - start)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Return why a request is not admitted; None if it is."""
        headers = Headers(scope=scope)
        host = _name(headers.get("host", ""))
        open_route = scope["path"] in OPEN_ROUTES
        if self.hosts and host not in self.hosts and not open_route:
            return Refusal(Reason.UNKNOWN_HOST)
        # Sec-Fetch-Site is only sent over TLS and to the machine itself; Origin is sent with every POST of a browser
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            foreign = site in ("cross-site", "same-site")
        else:
            foreign = origin is not None and _name(origin.partition("://")[2]) != host
        if foreign and scope["method"] not in ("GET", "HEAD"):
            return Refusal(Reason.CROSS_SITE)
        if self.keys and not open_route and not self.keys.accept(headers.get("authorization", "")):
            return Refusal(Reason.NO_KEY)
        return None

    def _note(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", "") or "other")
        method = method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        write = log.debug if scope["path"] in OPEN_ROUTES else log.info
        client = (scope.get("client") or ("", 0))[0]
        write("request", client=client, route=route, method=method, status=status, seconds=round(seconds, 4))


async def _read_on(receive: Receive) -> None:
    """Read and drop the rest of a refused request: a proxy whose connection is reset while it sends answers 502."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_LINGER):
            more = True
            while more:
                async with asyncio.timeout(LINGER):
                    more = (await receive()).get("more_body", False)


def _failure(error: BaseException) -> Reason:
    """Return the reason to answer with; an error that leaves the process broken ends it."""
    if isinstance(error, asyncio.CancelledError):  # the server stops, and the time to drain is over
        return Reason.NOT_READY
    if isinstance(error, MemoryError) or not isinstance(error, Exception):  # the latter: a panic in a library
        end_process(error)
    log.exception("fault")
    return Reason.FAULT


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return (host if host.endswith("]") else host.rsplit(":", 1)[0]).lower()
