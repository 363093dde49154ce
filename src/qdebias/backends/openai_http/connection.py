"""Where a server is, and talking to it: JSON there and back, in bounded number, again where a failure may pass.

The event loop runs in a thread of its own, for as long as a session lasts: a caller may have a loop running already,
and nothing of it is touched.
"""

import ipaddress
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import anyio
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_random_exponential

from qdebias.backends.openai_http.chat import Json
from qdebias.backends.openai_http.failures import (
    PassingError,
    RefusedError,
    breakdown,
    refusal,
    server_words,
    status_inside,
    unreadable,
)
from qdebias.errors import SettingError

FORM = "http://localhost:8000/v1#model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server and one of its models (empty: the only one).

    `api`, such as "http://localhost:8000/v1", is what the paths of the OpenAI API are put behind, `root`, without
    /v1, those of the server's own.
    """

    api: str
    root: str
    model: str

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own service."""
        return urlsplit(self.api).hostname == "api.openai.com"

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this machine."""
        host = urlsplit(self.api).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def parse_address(text: str) -> Address:
    """Return the address that `<url>#<model>` names; where the URL has no path, it is that of the API, /v1.

    Raises:
        SettingError: It is no such URL, or holds a password.
    """
    url, _, model = text.partition("#")
    parts = _split(url)
    path = parts.path.rstrip("/") or "/v1"
    api = parts._replace(path=path).geturl()
    return Address(api=api, root=api.removesuffix("/v1"), model=model)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if "@" in url:  # not quoted: it may hold a password
        raise SettingError(
            "the URL of a server must not hold a user name or password; put the key into QDEBIAS_API_KEY instead"
        )
    if not sound or parts.query:
        raise SettingError(f"{url!r} is no URL of a server; write it like openai:{FORM}")
    return parts


Result = TypeVar("Result")

CONNECT_SECONDS = 10.0
FIRST_WAIT = 0.5
"""Seconds: the first wait is a random one up to this; each one after that up to twice the one before."""
LONGEST_WAIT = 30.0
MOST_BYTES = 64 << 20
"""Of an answer. llama.cpp takes 15 MB to tell the log-probabilities of a vocabulary of 150,000."""
_MOST_WORDS = 10_000


class Connection:
    """How a server is reached. Its text and its errors never hold the key.

    `timeout` and `patience` are seconds: until an answer counts as lost, and for which a request is tried again while
    the server is away or busy. At most `concurrency` requests are under way at a time.

    Raises:
        SettingError: A setting is out of range, or the key holds what cannot be sent.
    """

    def __init__(
        self, address: Address, *, key: str = "", timeout: float = 120.0, patience: float = 300.0, concurrency: int = 8
    ) -> None:
        if not (timeout > 0 and patience >= 0 and concurrency >= 1):
            raise SettingError(
                f"timeout must be above 0, patience 0 or more and concurrency 1 or more, got timeout={timeout}, "
                f"patience={patience}, concurrency={concurrency}"
            )
        if not all("!" <= letter <= "~" for letter in key):
            raise SettingError("the API key holds a space or a letter that is not ASCII; copy it again")
        self.address = address
        self.timeout = timeout
        self.patience = patience
        self.concurrency = concurrency
        self._key = key
        # plain http has no certificates, and no redirect leads away from it
        self._certificates = httpx2.create_ssl_context() if address.api.startswith("https:") else False

    def __repr__(self) -> str:
        return f"Connection({self.address.api!r})"

    @contextmanager
    def session(self, *, waiting: bool = True) -> Iterator["Session"]:
        """Open the connection, for this thread; `waiting`: a server that is not there may come back."""
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(self._client()) as client,
        ):
            yield Session(self, portal, client, waiting=waiting)

    def without_key(self, text: str) -> str:
        """Return the text with the key made unreadable, should a server repeat it."""
        return text.replace(self._key, "***") if self._key else text

    @property
    def has_key(self) -> bool:
        """Whether a key is sent."""
        return bool(self._key)

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=httpx2.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout), pool=None),
            limits=httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            verify=self._certificates,
            trust_env=not self.address.is_loopback,  # a proxy cannot reach this machine
        )


class Session:
    """An open connection; `Connection.session` makes one.

    Attributes:
        address: Where the server is.
        interrupted: Whether the connection broke at least once.
    """

    def __init__(
        self, connection: Connection, portal: BlockingPortal, client: httpx2.AsyncClient, *, waiting: bool
    ) -> None:
        self.address = connection.address
        self.interrupted = False
        self._connection = connection
        self._portal = portal
        self._client = client
        self._waiting = waiting

    def get(self, url: str) -> Any:  # noqa: ANN401  whatever the server sends
        """Return the JSON value at a URL; raises as `send` does."""
        return self._portal.call(self._send_again, "GET", url, None, True)

    def post(self, url: str, body: Mapping[str, Any]) -> Json:
        """Return what is answered to a JSON object; raises as `send` does."""
        return self._portal.call(self.send, url, body)

    def run_all(self, jobs: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
        """Run asynchronous functions, `concurrency` at a time, and return their results in order.

        The first failure stops them all and is raised.
        """
        return self._portal.call(self._run_all, jobs)

    async def send(self, url: str, body: Mapping[str, Any], *, patient: bool = True) -> Json:
        """Return the JSON object that the server answers; if `patient`, a failure that may pass is tried again.

        Raises:
            PassingError: It did not pass.
            RefusedError: The server refuses.
        """
        value = await self._send_again("POST", url, body, patient)
        if not isinstance(value, dict):
            raise unreadable(url)
        return value

    async def _send_again(self, method: str, url: str, body: Mapping[str, Any] | None, patient: bool) -> Any:  # noqa: ANN401
        if not patient:
            return await self._send_once(method, url, body)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            wait=_wait,
            stop=partial(_stop, self._connection.patience),
            reraise=True,
        )
        return await retrying(self._send_once, method, url, body)

    async def _send_once(self, method: str, url: str, body: Mapping[str, Any] | None) -> Any:  # noqa: ANN401
        try:
            with anyio.fail_after(self._connection.timeout):  # of the whole answer, and not from byte to byte
                async with self._client.stream(method, url, json=body) as response:
                    data = await _content(response, url)
        except (httpx2.TransportError, TimeoutError) as error:
            failure = breakdown(error, url=url, timeout=self._connection.timeout, waiting=self._waiting)
            self.interrupted |= failure.broken
            raise failure from error
        value = _json(data)
        status = response.status_code
        if status == HTTPStatus.OK and value is None:
            raise unreadable(url)
        if status == HTTPStatus.OK:
            inside = status_inside(value)
            if inside is None:
                return value
            status = inside
        clean = self._connection.without_key
        text = _decoded(data[:_MOST_WORDS], response.charset_encoding)
        words = clean(server_words(_json(text.encode()) if value is None else value, text))
        headers = {name: clean(text) for name, text in response.headers.items()}
        raise refusal(status, words, headers, url=url, has_key=self._connection.has_key)

    async def _run_all(self, jobs: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
        results: dict[int, Result] = {}
        slots = anyio.Semaphore(self._connection.concurrency)

        async def run(number: int, job: Callable[[], Awaitable[Result]]) -> None:
            async with slots:
                results[number] = await job()

        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as group:
                for number, job in enumerate(jobs):
                    group.start_soon(run, number, job)
        except BaseExceptionGroup as failures:
            failure = failures
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        if failure is not None:
            raise failure
        return [results[number] for number in range(len(jobs))]


async def _content(response: httpx2.Response, url: str) -> bytes:
    """Return the content of an answer, unpacked; no more than MOST_BYTES are ever held."""
    held = bytearray()
    async for part in response.aiter_raw():
        held += part
        if len(held) > MOST_BYTES:
            raise _too_large(url)
    data = bytes(held)
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return data
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise RefusedError(f"{url} packs its answer ({coding!r}) although none of that was asked for", 200)
    try:
        unpacking = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
        data = unpacking.decompress(data, MOST_BYTES)
    except zlib.error as error:
        raise unreadable(url) from error
    if unpacking.unconsumed_tail:
        raise _too_large(url)
    return data


def _too_large(url: str) -> RefusedError:
    return RefusedError(
        f"{url} answers with more than {MOST_BYTES >> 20} MiB; it is no OpenAI-compatible server, or top_logprobs is "
        f"too large",
        200,
    )


def _decoded(data: bytes, charset: str | None) -> str:
    """Return an error's text in the character set that the server names, if there is such a one."""
    with suppress(LookupError, UnicodeError):
        return data.decode(charset or "utf-8")
    return data.decode(errors="replace")


def _json(data: bytes) -> Any:  # noqa: ANN401  whatever the server sent
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # no JSON, no Unicode, a number of thousands of digits; nested too deep
        return None


_backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)


def _failure(state: RetryCallState) -> PassingError | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, PassingError) else None


def _wait(state: RetryCallState) -> float:
    """Return the seconds until the next try: random and growing, and no less than the server asks for."""
    failure = _failure(state)
    return (failure.retry_after if failure else 0.0) + _backoff(state)


def _stop(patience: float, state: RetryCallState) -> bool:
    failure = _failure(state)
    too_often = failure is not None and state.attempt_number >= failure.tries
    return too_often or stop_before_delay(patience)(state)
