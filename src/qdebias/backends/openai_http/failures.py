"""What goes wrong between here and a server, each in one line."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx2

from qdebias.errors import BackendError, first_line

QUOTED = 300
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
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or _is_too_long(status, words):
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
    return line if len(line) <= QUOTED else f"{line[:QUOTED]}..."


def _is_too_long(status: int, words: str) -> bool:
    return status in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY) and any(
        sign in words.lower() for sign in _TOO_LONG
    )


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that the header Retry-After asks for: a number, or a date."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def status_inside(value: Any) -> int | None:  # noqa: ANN401  whatever the server sent
    """Return the status of the error that an answer of status 200 holds, 200 where it has none; None without error."""
    error = value.get("error") if isinstance(value, dict) else None
    if not error:
        return None
    codes = [error.get(name) for name in ("code", "status")] if isinstance(error, dict) else []
    return next((code for code in codes if isinstance(code, int) and 400 <= code < 600), int(HTTPStatus.OK))
