"""Where a server is, and talking to it: JSON there and back, in bounded number, again where a failure may pass.

The event loop runs in a thread of its own, for as long as a session lasts: a caller may have a loop running already,
and nothing of it is touched. What goes wrong is one of two errors, each in one line: it may pass, or it is refused.
"""

import ipaddress
import json
import math
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar, cast

import anyio
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_random_exponential

from qdebias.backends.openai_http import Address, Json
from qdebias.errors import BackendError, SettingError, first_line

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
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._client()) as client:
            yield Session(self, portal, client, waiting=waiting)

    def refusal(self, status: int, words: str, headers: Mapping[str, str], url: str) -> BackendError:
        """Return the error for an answer that is none, see `refusal`; without the key, should the server repeat it."""
        if self._key:
            words = words.replace(self._key, "***")
            headers = {name: text.replace(self._key, "***") for name, text in headers.items()}
        return refusal(status, words, headers, url=url, has_key=bool(self._key))

    def _client(self) -> httpx2.AsyncClient:
        try:
            nearby = ipaddress.ip_address(self.address.host).is_loopback
        except ValueError:
            nearby = self.address.host == "localhost"
        return httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=httpx2.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout), pool=None),
            limits=httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            verify=self._certificates,
            trust_env=not nearby,  # a proxy cannot reach this machine
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
        too_late = stop_before_delay(self._connection.patience)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            wait=lambda state: _failure(state).retry_after + _backoff(state),  # no less than the server asks for
            stop=lambda state: state.attempt_number >= _failure(state).tries or too_late(state),
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
        text = _decoded(data[:_MOST_WORDS], response.charset_encoding)
        words = server_words(_json(text.encode()) if value is None else value, text)
        raise self._connection.refusal(status, words, response.headers, url)

    async def _run_all(self, jobs: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
        results: dict[int, Result] = {}
        slots = anyio.Semaphore(self._connection.concurrency)

        async def run(number: int, job: Callable[[], Awaitable[Result]]) -> None:
            async with slots:
                results[number] = await job()

        try:
            async with anyio.create_task_group() as group:
                for number, job in enumerate(jobs):
                    group.start_soon(run, number, job)
        except BaseExceptionGroup as failures:
            first: BaseException = failures
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from first.__cause__
        return [results[number] for number in range(len(jobs))]


async def _content(response: httpx2.Response, url: str) -> bytes:
    """Return the content of an answer, unpacked; no more than MOST_BYTES are ever held."""
    too_large = RefusedError(
        f"{url} answers with more than {MOST_BYTES >> 20} MiB; it is no OpenAI-compatible server, or top_logprobs is "
        f"too large",
        200,
    )
    held = bytearray()
    async for part in response.aiter_raw():
        held += part
        if len(held) > MOST_BYTES:
            raise too_large
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return bytes(held)
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise RefusedError(f"{url} packs its answer ({coding!r}) although that was not requested", 200)
    unpacking = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        data = unpacking.decompress(held, MOST_BYTES)
    except zlib.error as error:
        raise unreadable(url) from error
    if unpacking.unconsumed_tail:
        raise too_large
    return data


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


def _failure(state: RetryCallState) -> "PassingError":
    return cast("PassingError", state.outcome and state.outcome.exception())


_QUOTED = 300
"""How many characters of a server's own words are quoted."""

_AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
_NO_SUCH_PLACE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_TOO_LONG = ("context length", "context size", "context window", "max_model_len", "too long", "exceed_context")
_FEW_TRIES = 3


class PassingError(BackendError):
    """Something that may pass: try again, at most `tries` times, after `retry_after` seconds.

    `broken`: another server may stand at the address afterwards; `limited`: the server limits the rate of all
    requests.
    """

    def __init__(
        self,
        message: str,
        *,
        tries: float = math.inf,
        retry_after: float = 0.0,
        broken: bool = False,
        limited: bool = False,
    ) -> None:
        super().__init__(message)
        self.tries = tries
        self.retry_after = retry_after
        self.broken = broken
        self.limited = limited


class RefusedError(BackendError):
    """The server refuses a request, or answers what cannot be used, and would do so again.

    Attributes:
        status: Of HTTP; 200 for an error or an empty answer that bears it.
        told: What the server said, without a remedy for the case that it says so of every request.
    """

    def __init__(self, message: str, status: int, told: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.told = told or message

    @property
    def absent(self) -> bool:
        """Whether the server has nothing at this path."""
        return self.status in _NO_SUCH_PLACE


def refusal(status: int, words: str, headers: Mapping[str, str], *, url: str, has_key: bool) -> BackendError:
    """Return the error for an answer that is none; `status` may be that of an error inside it."""
    said = f": {words}" if words else ""
    told = f"{url} answers {status}{said}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        remedy = "the key in it is wrong" if has_key else "there is none"
        return RefusedError(
            f"{url} refuses the key ({status}); set the environment variable QDEBIAS_API_KEY: {remedy}{said}",
            status,
            told,
        )
    refused = status in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    too_long = refused and any(sign in words.lower() for sign in _TOO_LONG)
    if too_long or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return RefusedError(
            f"the images are more than the server takes; make them smaller, or raise its limit. {told}", status
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return PassingError(
            f"{told}; ask less at a time (concurrency), or wait", retry_after=_retry_after(headers), limited=True
        )
    if status in _AWAY:
        return PassingError(f"{told}; wait until it is up, or start it again", retry_after=_retry_after(headers))
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return PassingError(f"{told}; its log says why", tries=_FEW_TRIES)
    if 300 <= status < 400:
        return RefusedError(
            f"{told}; it sends on to {headers.get('location', 'nowhere')}: name that URL instead", status
        )
    if status == HTTPStatus.NOT_FOUND:
        return RefusedError(f"{told}; correct the name of the model, or the path in the URL", status, told)
    return RefusedError(f"{told}; its log says more", status)


def breakdown(error: httpx2.TransportError | TimeoutError, *, url: str, timeout: float, waiting: bool) -> PassingError:
    """Return the error for a connection that failed; `waiting`: a server that is not there may come back."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return PassingError(
            f"cannot reach {url} ({first_line(error)}); start the server, or correct the URL",
            tries=math.inf if waiting else 1,
            broken=True,
        )
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return PassingError(
            f"{url} did not answer within {timeout:g} s; raise timeout, or ask less at a time (concurrency)",
            tries=_FEW_TRIES,
        )
    return PassingError(
        f"{url} broke off in the middle of its answer ({first_line(error)}); its log says why", broken=True
    )


def unreadable(url: str) -> PassingError:
    """Return the error for an answer that is no JSON, or none that can be read."""
    return PassingError(
        f"{url} answers with something else than JSON; it is no OpenAI-compatible server, or something between "
        f"here and there cuts its answers short",
        tries=_FEW_TRIES,
    )


def server_words(body: Any, text: str) -> str:  # noqa: ANN401  whatever the server sent
    """Return what a server says about an error, given as JSON and text, in one line of limited length."""
    found = body
    for name in ("error", "detail", "message"):
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            found = found.get(name, found.get("msg", found))
    words = found if isinstance(found, str) else text
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    return line if len(line) <= _QUOTED else f"{line[:_QUOTED]}..."


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that the header Retry-After asks for: a number, or a date."""
    value = headers.get("retry-after", "")
    with suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return 0.0


def status_inside(value: Any) -> int | None:  # noqa: ANN401  whatever the server sent
    """Return the status of the error that an answer of status 200 holds, 200 where it has none; None without error."""
    error = value.get("error") if isinstance(value, dict) else None
    if not error:
        return None
    codes = [error.get(name) for name in ("code", "status")] if isinstance(error, dict) else []
    return next((code for code in codes if isinstance(code, int) and 400 <= code < 600), int(HTTPStatus.OK))
