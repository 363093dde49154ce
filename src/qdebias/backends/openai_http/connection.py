"""JSON requests to a server, with limited concurrency and with retries of failures that may pass.

A session runs an event loop in a separate thread, so that it also works inside a running event loop.
"""

import asyncio
import ipaddress
import json
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_random_exponential

from qdebias.errors import BackendError, SettingError, first_line

Json: TypeAlias = dict[str, Any]
Result = TypeVar("Result")

CONNECT_SECONDS = 10.0
MOST_BYTES = 64 << 20  # of an answer; llama.cpp's for a vocabulary of 150,000 takes 15 MB
_MOST_WORDS = 10_000
_QUOTED = 300  # characters of a server's own words
_FEW_TRIES = 3
_AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
_NO_SUCH_PLACE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_TOO_LONG = ("context length", "context size", "context window", "max_model_len", "too long", "exceed_context")
_backoff = wait_random_exponential(multiplier=0.5, max=30.0)  # seconds: up to .5 at first, then up to twice that...


@dataclass(eq=False, repr=False)
class PassingError(BackendError):
    """A failure that may pass: try again."""

    message: str
    _: KW_ONLY
    tries: float = math.inf  # at most
    retry_after: float = 0.0  # seconds
    broken: bool = False  # the connection broke, so that another server may be there afterwards
    limited: bool = False  # by a rate limit over all requests


@dataclass(eq=False, repr=False)
class RefusedError(BackendError):
    """The server refuses a request, or its answer cannot be used, and trying again would not help."""

    message: str
    _: KW_ONLY
    status: int = HTTPStatus.OK  # of HTTP; OK for an error inside an answer, or an unusable one
    told: str = ""  # the server's message without our remedy, which helps only if every request fails

    @property
    def absent(self) -> bool:
        """Whether the server has nothing at this path."""
        return self.status in _NO_SUCH_PLACE


class Connection:
    """The address of the server of `<url>#<model>`, with its key, which never appears in texts or errors.

    `api` is the URL with the path of the API, by default /v1, `root` the same without it; an empty `model` means the
    only one on the server. `timeout` and `patience` are in seconds.
    """

    def __init__(self, address: str, *, timeout: float, patience: float, concurrency: int) -> None:
        if not (timeout > 0 and patience >= 0 and concurrency >= 1):
            raise SettingError(
                f"timeout must be above 0, patience 0 or more and concurrency 1 or more, got timeout={timeout}, "
                f"patience={patience}, concurrency={concurrency}"
            )
        url, _, self.model = address.partition("#")
        if "@" in url:  # not quoted in the message: it may contain a password
            raise SettingError(
                "the URL of a server must not hold a user name or password; put the key into QDEBIAS_API_KEY instead"
            )
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.query
        except ValueError:
            sound = False
        if not sound:
            raise SettingError(
                f"{url!r} is not the URL of a server; write it like openai:http://localhost:8000/v1#model"
            )
        self.host = parts.hostname or ""
        self.api = parts._replace(path=parts.path.rstrip("/") or "/v1").geturl()
        self.root = self.api.removesuffix("/v1")
        self.timeout, self.patience, self.concurrency = timeout, patience, concurrency
        key = os.environ.get("QDEBIAS_API_KEY", "")
        if not key and self.host == "api.openai.com":  # OpenAI's key is sent to nobody else
            key = os.environ.get("OPENAI_API_KEY", "")
        self.key = key.strip()
        if not all("!" <= letter <= "~" for letter in self.key):
            raise SettingError("the API key holds a space or a letter that is not ASCII; copy it again")
        # plain http has no certificates, and no redirect leads away from it
        self._certificates = httpx2.create_ssl_context() if parts.scheme == "https" else False

    def __repr__(self) -> str:
        return f"Connection({self.api!r})"

    @contextmanager
    def session(self, *, waiting: bool = True) -> Iterator["Session"]:
        """Open a session for this thread; with `waiting`, an unreachable server is tried again."""
        try:
            nearby = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            nearby = self.host == "localhost"
        client = httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {}),
            timeout=httpx2.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout), pool=None),
            limits=httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            verify=self._certificates,
            trust_env=not nearby,  # a proxy cannot reach this machine
        )
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
            yield Session(self, portal, client, waiting)


@dataclass(eq=False, repr=False)
class Session:
    """An open connection. Failures raise `PassingError`, after retries, or `RefusedError`."""

    connection: Connection
    _portal: BlockingPortal
    _client: httpx2.AsyncClient
    _waiting: bool
    interrupted: bool = False  # whether the connection broke at least once

    def get(self, url: str) -> Any:  # noqa: ANN401  whatever the server sends
        """Return the JSON value at a URL."""
        return self._portal.call(self._send, "GET", url, None, True)

    def post(self, url: str, body: Mapping[str, Any]) -> Json:
        """Return the answer to a JSON object."""
        return self._portal.call(self.send, url, body)

    async def send(self, url: str, body: Mapping[str, Any], *, patient: bool = True) -> Json:
        """Return the answer to a JSON object; if `patient`, after retries of failures that may pass."""
        value = await self._send("POST", url, body, patient)
        if not isinstance(value, dict):
            raise _unreadable(url)
        return value

    def run_all(self, jobs: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
        """Run asynchronous functions, `concurrency` at a time; return their results in order.

        The first failure stops them all and is raised.
        """
        slots = asyncio.Semaphore(self.connection.concurrency)

        async def run(job: Callable[[], Awaitable[Result]]) -> Result:
            async with slots:
                return await job()

        async def run_together() -> list[Result]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(job)) for job in jobs]
            return [task.result() for task in tasks]

        try:
            return self._portal.call(run_together)
        except BaseExceptionGroup as failures:
            first = failures.exceptions[0]
            raise first from first.__cause__

    async def _send(self, method: str, url: str, body: Mapping[str, Any] | None, patient: bool) -> Any:  # noqa: ANN401
        def failure(state: RetryCallState) -> PassingError:
            return cast("PassingError", state.outcome and state.outcome.exception())

        too_late = stop_before_delay(self.connection.patience)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            wait=lambda state: failure(state).retry_after + _backoff(state),  # no less than the server asks for
            stop=lambda state: not patient or state.attempt_number >= failure(state).tries or too_late(state),
            reraise=True,
        )
        return await retrying(self._send_once, method, url, body)

    async def _send_once(self, method: str, url: str, body: Mapping[str, Any] | None) -> Any:  # noqa: ANN401
        timeout, key = self.connection.timeout, self.connection.key
        try:
            with anyio.fail_after(timeout):  # of the whole answer, and not from byte to byte
                async with self._client.stream(method, url, json=body) as response:
                    data = await _content(response, url)
        except (httpx2.TransportError, TimeoutError) as error:
            failure = _breakdown(error, url, timeout, waiting=self._waiting)
            self.interrupted |= failure.broken
            raise failure from error
        value, status = _json(data), response.status_code
        if status == HTTPStatus.OK:
            if value is None:
                raise _unreadable(url)
            inside = value.get("error") if isinstance(value, dict) else None
            if not inside:
                return value
            codes = [inside.get(name) for name in ("code", "status")] if isinstance(inside, dict) else []
            status = next((code for code in codes if isinstance(code, int) and 400 <= code < 600), status)
        text = _decoded(data[:_MOST_WORDS], response.charset_encoding)
        words = server_words(_json(text.encode()) if value is None else value, text)
        headers: Mapping[str, str] = response.headers
        if key:  # should the server repeat it
            words = words.replace(key, "***")
            headers = {name: content.replace(key, "***") for name, content in headers.items()}
        raise refusal(status, words, headers, url=url, has_key=bool(key))


async def _content(response: httpx2.Response, url: str) -> bytes:
    """Return the decompressed content of an answer, of at most MOST_BYTES."""
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "deflate"):
        raise RefusedError(f"{url} packs its answer ({coding!r}) although that was not requested")
    held = bytearray()
    try:
        async for part in response.aiter_bytes():  # decompressed in pieces of limited size
            held += part
            if len(held) > MOST_BYTES:
                raise RefusedError(
                    f"{url} answers with more than {MOST_BYTES >> 20} MiB; it is no OpenAI-compatible server, or "
                    f"top_logprobs is too large"
                )
    except httpx2.DecodingError as error:
        raise _unreadable(url) from error
    return bytes(held)


def _decoded(data: bytes, charset: str | None) -> str:
    """Return an error's text, decoded by the character set that the server names, if it exists."""
    with suppress(LookupError, UnicodeError):
        return data.decode(charset or "utf-8")
    return data.decode(errors="replace")


def _json(data: bytes) -> Any:  # noqa: ANN401  whatever the server sent
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # not JSON or Unicode, a number of thousands of digits; nested too deep
        return None


def _breakdown(error: Exception, url: str, timeout: float, *, waiting: bool) -> PassingError:
    """Return the error for a failed connection; with `waiting`, an unreachable server is tried again."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        words = f"cannot reach {url} ({first_line(error)}); start the server, or correct the URL"
        return PassingError(words, tries=math.inf if waiting else 1, broken=True)
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        words = f"{url} did not answer within {timeout:g} s; raise timeout, or ask less at a time (concurrency)"
        return PassingError(words, tries=_FEW_TRIES)
    words = f"{url} broke off in the middle of its answer ({first_line(error)}); its log says why"
    return PassingError(words, broken=True)


def _unreadable(url: str) -> PassingError:
    return PassingError(
        f"{url} answers with something else than JSON; it is no OpenAI-compatible server, or something between "
        f"here and there cuts its answers short",
        tries=_FEW_TRIES,
    )


def server_words(body: Any, text: str) -> str:  # noqa: ANN401  whatever the server sent
    """Return a server's error message, given as JSON and text, as one line of limited length."""
    part = body
    for name in ("error", "detail", "message"):
        if isinstance(part, list) and part:
            part = part[0]
        if isinstance(part, dict):
            part = part.get(name, part.get("msg", part))
    words = part if isinstance(part, str) else text
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    return line if len(line) <= _QUOTED else f"{line[:_QUOTED]}..."


def refusal(status: int, words: str, headers: Mapping[str, str], *, url: str, has_key: bool) -> BackendError:
    """Return the error for an HTTP status, which may come from an error inside an answer."""
    said = f": {words}" if words else ""
    told = f"{url} answers {status}{said}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        remedy = "the key in it is wrong" if has_key else "there is none"
        words = f"{url} refuses the key ({status}); set the environment variable QDEBIAS_API_KEY: {remedy}{said}"
        return RefusedError(words, status=status, told=told)
    refused = status in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    too_long = refused and any(sign in words.lower() for sign in _TOO_LONG)
    if too_long or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        words = f"the images are more than the server takes; make them smaller, or raise its limit. {told}"
        return RefusedError(words, status=status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        words = f"{told}; ask less at a time (concurrency), or wait"
        return PassingError(words, retry_after=_retry_after(headers), limited=True)
    if status in _AWAY:
        return PassingError(f"{told}; wait until it is up, or start it again", retry_after=_retry_after(headers))
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return PassingError(f"{told}; its log says why", tries=_FEW_TRIES)
    if 300 <= status < 400:
        place = headers.get("location", "nowhere")
        return RefusedError(f"{told}; it redirects to {place}: name that URL instead", status=status)
    if status == HTTPStatus.NOT_FOUND:
        return RefusedError(f"{told}; correct the name of the model, or the path in the URL", status=status, told=told)
    return RefusedError(f"{told}; its log says more", status=status)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds in the header Retry-After, which is a number or a date."""
    value = headers.get("retry-after", "")
    with suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return 0.0
