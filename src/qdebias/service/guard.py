"""What surrounds every request: its id, its key, its deadline, headers of the answer, one log line, metrics."""

import asyncio
import base64
import binascii
import hmac
import os
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qdebias.errors import SettingError
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.telemetry import Metrics, end_process, log

VARIABLE = "QDEBIAS_SERVE_KEYS"
"""Environment variable with the keys, separated by commas or white space."""

SHORTEST = 16
"""Shortest key, in characters: a key that can be guessed is none."""


class Keys:
    """The keys of a server; only their digests are kept."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, authorization: str) -> bool:
        """Say whether an Authorization header shows a key: `Bearer <key>`, or `Basic` with the key as password.

        The time does not tell how much of a key was right, nor which one.
        """
        digest = _digest(_key_in(authorization))
        return any(list(map(partial(hmac.compare_digest, digest), self._digests)))


def load_keys(path: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
    """Return the keys of a file with one key a line, or of the environment variable.

    Raises:
        SettingError: The file cannot be read, holds no key, or a key is too short.
    """
    if path is None:
        keys = environment.get(VARIABLE, "").replace(",", " ").split()
        source = VARIABLE
    else:
        keys, source = _read(path), str(path)
        if not keys:
            raise SettingError(f"{path}: holds no key; write one a line")
    if any(len(key) < SHORTEST or not key.isascii() or not key.isprintable() for key in keys):
        raise SettingError(
            f"{source}: a key is shorter than {SHORTEST} characters, or not plain ASCII; make a longer one"
        )
    return Keys(tuple(keys))


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise SettingError(f"{path}: the keys cannot be read ({error})") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _key_in(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


OPEN_ROUTES = frozenset(("/healthz", "/readyz"))
"""What needs no key."""

LINGER = 1.0
"""Seconds for which the rest of a refused request is still read."""

_SOUND_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def error_answer(refusal: Refusal) -> JSONResponse:
    """Return the HTTP answer of a refusal."""
    headers = dict(refusal.headers)
    if refusal.reason is Reason.NO_KEY:
        headers["www-authenticate"] = 'Basic realm="qdebias", charset="UTF-8"'
    return JSONResponse({"error": problem(refusal)}, status_code=refusal.reason.status, headers=headers)


def problem(refusal: Refusal) -> dict[str, str]:
    """Return a refusal as answers hold it."""
    request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
    return {"code": refusal.reason.code, "message": refusal.message, "request_id": request_id}


class Guard:
    """The outermost layer of the application.

    Args:
        app: What answers.
        keys: Who may ask.
        hosts: Names under which the server may be addressed; none allows every name. Keeps a page that gives its own
            name the address of this machine (DNS rebinding) from a server without keys.
        metrics: Where requests are counted.
        deadline: Seconds from the first byte of a request until it is answered, or refused.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, hosts: frozenset[str], metrics: Metrics, deadline: float) -> None:
        self._app = app
        self._keys = keys
        self._hosts = hosts
        self._metrics = metrics
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent = headers.get("x-request-id", "")
        request_id = sent if _SOUND_ID.fullmatch(sent) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, send, headers, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> None:
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
                out["x-request-id"] = request_id
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
            elif status >= 400 and not arrived and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _read_on(receive)
                message = {"type": "http.response.body"}
            await send(message)

        limit = asyncio.timeout_at(start + self._deadline)
        try:
            refusal = self._refusal(scope, headers)
            answering = error_answer(refusal) if refusal else self._app
            async with limit:
                await answering(scope, receive_noting, send_with_headers)
        except BaseException as error:  # noqa: BLE001 (the last resort: told to the log, not to the client)
            late = Reason.DEADLINE if arrived else Reason.TOO_SLOW
            failure = late if limit.expired() else _failure(error)
            if status == 0:
                await error_answer(Refusal(failure))(scope, receive, send_with_headers)
        finally:
            self._note(scope, method, status, time.monotonic() - start)

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Return why a request is not let in, if it is not."""
        host = _name(headers.get("host", ""))
        open_route = scope["path"] in OPEN_ROUTES
        if self._hosts and host not in self._hosts and not open_route:
            return Refusal(Reason.UNKNOWN_HOST)
        if scope["method"] not in ("GET", "HEAD") and _is_of_another_site(headers, host):
            return Refusal(Reason.CROSS_SITE)
        if self._keys and not open_route and not self._keys.accept(headers.get("authorization", "")):
            return Refusal(Reason.NO_KEY)
        return None

    def _note(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", "") or "other")
        method = method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        say = log.debug if scope["path"] in OPEN_ROUTES else log.info
        client = (scope.get("client") or ("", 0))[0]
        say("request", client=client, route=route, method=method, status=status, seconds=round(seconds, 4))


async def _read_on(receive: Receive) -> None:
    """Read and drop the rest of a refused request: a proxy whose connection is reset while it sends answers 502."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body", False):
                pass


def _failure(error: BaseException) -> Reason:
    """Return what to answer after an error; one after which the process is broken ends it."""
    if isinstance(error, asyncio.CancelledError):  # the server stops, and the time for requests under way is over
        return Reason.NOT_READY
    if isinstance(error, MemoryError) or not isinstance(error, Exception):  # the latter is a panic in a library
        end_process(error)
    log.exception("fault")
    return Reason.FAULT


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return (host if host.endswith("]") else host.rsplit(":", 1)[0]).lower()


def _is_of_another_site(headers: Headers, host: str) -> bool:
    """Say whether a browser marks a request as that of another site's page.

    Sec-Fetch-Site is only sent over TLS and to the machine itself; Origin is sent with every POST.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("cross-site", "same-site")
    origin = headers.get("origin")
    return origin is not None and _name(origin.partition("://")[2]) != host
