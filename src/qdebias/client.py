"""A client of `qdebias serve` that needs httpx2 alone: no torch, no numpy.

    with Client("http://127.0.0.1:8765") as client:
        print(client.score("photo.jpg").score)

`AsyncClient` has the same methods as coroutines. This file is also the package `qdebias-client`.
"""

# ruff: noqa: A002  `format` is its name in the address

import random
import struct
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from concurrent.futures import Future

    import httpx2

Image: TypeAlias = Any
"""A path, a file's bytes, a PIL image, or an (H, W, 3) array of uint8; the last two are sent as PNG, without loss."""

Format: TypeAlias = Literal["png", "json"]
RETRIED = frozenset({429, 502, 503, 504})


class ServerError(Exception):
    """The server refused a request, or failed.

    `status` is that of HTTP, 0 if there was no answer; `code` is the server's, such as "too_small", see
    docs/service.md; `request_id` also appears in the server's log.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str = "") -> None:
        super().__init__(f"{code}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.status, self.code, self.message, self.request_id = status, code, message, request_id

    def __reduce__(self) -> tuple[type["ServerError"], tuple[int, str, str, str]]:
        return type(self), (self.status, self.code, self.message, self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of an image; fields as in /openapi.json."""

    score: float  # quality in [0, 1]; higher is better
    model: str
    method: str
    seed: int  # of the degradations
    conditions: list[str]  # the degraded copies, in order
    good: list[float]  # P(good) under each condition
    same: list[float]  # P(same object) of each condition
    weight: list[float]  # of each condition
    probabilities: dict[str, float] = field(default_factory=dict)  # of each option
    deviation: float | None = None  # standard deviation of the options' values
    log_odds: float | None = None  # log(score / (1 - score))

    def __float__(self) -> float:
        return self.score


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """The rewards of images for training."""

    rewards: list[float | None]  # in [0, 1], for each image in order; None if it cannot be scored
    errors: dict[int, ServerError]  # by the index of the image
    model: str
    method: str
    fingerprint: str  # changes with everything that changes rewards


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a client."""

    key: str | None = None  # if the server has keys
    timeout: float = 60.0  # seconds for an answer
    retries: int = 5  # after a missing server, a full queue or a temporary fault
    concurrency: int = 8  # requests that `score_many` has in progress

    def connection(self, url: str) -> dict[str, Any]:
        """Return the settings of an httpx2 client."""
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {"base_url": url, "timeout": self.timeout, "headers": headers}

    def wait(self, attempt: int, outcome: "httpx2.Response | Exception") -> float:
        """Return the seconds to wait before the next attempt; raises ServerError if there should be none."""
        answer = None if isinstance(outcome, Exception) else outcome
        if attempt >= self.retries or (answer is not None and answer.status_code not in RETRIED):
            raise _error(outcome)
        retry_after = "" if answer is None else answer.headers.get("retry-after", "")
        jitter = random.uniform(0.5, 1.5)  # noqa: S311  spreads the retries of several clients
        return min(float(retry_after), 60.0) if retry_after.isdecimal() else min(0.25 * 2.0**attempt, 10.0) * jitter


class Client:
    """A client of the server at a URL such as "http://127.0.0.1:8765"; `settings` are the fields of `Settings`."""

    def __init__(self, url: str, **settings: Any) -> None:  # noqa: ANN401  fields of Settings
        import httpx2

        self.settings = Settings(**settings)
        self._http = httpx2.Client(**self.settings.connection(url))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def score(self, image: Image, *, method: str | None = None, model: str | None = None) -> Score:
        """Return the score of one image; raises ServerError, or ValueError if it is not an `Image`."""
        return _score(self._post("/v1/score", [image], method=method, model=model))

    def score_many(
        self, images: Iterable[Image], *, method: str | None = None, model: str | None = None
    ) -> Iterator[Score | Exception]:
        """Yield the score of each image in order, or its error; images are taken from the iterable as needed."""

        def one(image: Image) -> Score | Exception:
            try:
                return self.score(image, method=method, model=model)
            except (ServerError, ValueError, OSError) as error:
                return error

        from concurrent.futures import ThreadPoolExecutor

        rest = iter(images)
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            pending: list[Future[Score | Exception]] = []
            try:
                while True:
                    wanted = 2 * self.settings.concurrency - len(pending)
                    pending += [pool.submit(one, image) for image in islice(rest, wanted)]
                    if not pending:
                        return
                    yield pending.pop(0).result()
            finally:
                pool.shutdown(cancel_futures=True)

    def explain(
        self, image: Image, *, format: Format = "png", method: str | None = None, model: str | None = None
    ) -> bytes:
        """Return an explanation of a score, as a PNG figure or as JSON."""
        return bytes(self._post(f"/v1/explain?format={format}", [image], method=method, model=model).content)

    def reward(
        self, images: Sequence[Image], *, method: str | None = None, model: str | None = None, lossy: bool = False
    ) -> Rewards:
        """Return a reward for each image, for training; files compressed with loss are refused unless `lossy`."""
        texts = {"method": method, "model": model, "lossy": "true" if lossy else None}
        return _rewards(self._post("/v1/reward", images, "images", **texts))

    def _post(self, path: str, images: Sequence[Image], name: str = "image", **texts: str | None) -> "httpx2.Response":
        import httpx2

        form, attempt = _form(images, name, texts), 0
        while True:
            try:
                outcome: httpx2.Response | Exception = self._http.post(path, **form)
            except httpx2.TransportError as error:
                outcome = error
            if isinstance(outcome, httpx2.Response) and outcome.is_success:
                return outcome
            time.sleep(self.settings.wait(attempt, outcome))
            attempt += 1


class AsyncClient:
    """`Client` with the same arguments, and the same methods as coroutines."""

    def __init__(self, url: str, **settings: Any) -> None:  # noqa: ANN401  fields of Settings
        import httpx2

        self.settings = Settings(**settings)
        self._http = httpx2.AsyncClient(**self.settings.connection(url))

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def score(self, image: Image, *, method: str | None = None, model: str | None = None) -> Score:
        """See `Client.score`."""
        return _score(await self._post("/v1/score", [image], method=method, model=model))

    async def score_many(
        self, images: Iterable[Image], *, method: str | None = None, model: str | None = None
    ) -> AsyncIterator[Score | Exception]:
        """See `Client.score_many`."""

        async def one(image: Image) -> Score | Exception:
            try:
                return await self.score(image, method=method, model=model)
            except (ServerError, ValueError, OSError) as error:
                return error

        import asyncio

        rest = iter(images)
        pending: list[asyncio.Task[Score | Exception]] = []
        try:
            while True:
                wanted = self.settings.concurrency - len(pending)
                pending += [asyncio.ensure_future(one(image)) for image in islice(rest, wanted)]
                if not pending:
                    return
                yield await pending.pop(0)
        finally:
            for task in pending:
                task.cancel()

    async def explain(
        self, image: Image, *, format: Format = "png", method: str | None = None, model: str | None = None
    ) -> bytes:
        """See `Client.explain`."""
        return bytes((await self._post(f"/v1/explain?format={format}", [image], method=method, model=model)).content)

    async def reward(
        self, images: Sequence[Image], *, method: str | None = None, model: str | None = None, lossy: bool = False
    ) -> Rewards:
        """See `Client.reward`."""
        texts = {"method": method, "model": model, "lossy": "true" if lossy else None}
        return _rewards(await self._post("/v1/reward", images, "images", **texts))

    async def _post(
        self, path: str, images: Sequence[Image], name: str = "image", **texts: str | None
    ) -> "httpx2.Response":
        import asyncio

        import httpx2

        form, attempt = _form(images, name, texts), 0
        while True:
            try:
                outcome: httpx2.Response | Exception = await self._http.post(path, **form)
            except httpx2.TransportError as error:
                outcome = error
            if isinstance(outcome, httpx2.Response) and outcome.is_success:
                return outcome
            await asyncio.sleep(self.settings.wait(attempt, outcome))
            attempt += 1


def _form(images: Sequence[Image], name: str, texts: Mapping[str, str | None]) -> dict[str, Any]:
    files = [(name, ("image", _file(image))) for image in images]
    return {"files": files, "data": {key: text for key, text in texts.items() if text is not None}}


def _file(image: Image) -> bytes:
    """Return an image as a file's bytes; raises ValueError if it is not an `Image`."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | PathLike):
        return Path(image).read_bytes()
    if hasattr(image, "convert"):
        image = image.convert("RGB")
        return png(image.tobytes(), image.width, image.height)
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) == 3 and shape[2] == 3 and str(getattr(image, "dtype", "")) == "uint8":
        return png(image.tobytes(), shape[1], shape[0])
    raise ValueError(
        f"an image is a path, a file's bytes, a PIL image or an (H, W, 3) array of uint8, not {type(image).__name__}"
    )


def png(pixels: bytes, width: int, height: int) -> bytes:
    """Return RGB pixels, row by row, as a PNG file."""
    row = 3 * width
    lines = b"".join(b"\0" + pixels[start : start + row] for start in range(0, height * row, row))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _score(answer: "httpx2.Response") -> Score:
    content = answer.json()  # a newer server may add fields
    return Score(**{field.name: content[field.name] for field in fields(Score) if field.name in content})


def _rewards(answer: "httpx2.Response") -> Rewards:
    content = answer.json()
    errors = {
        row["index"]: ServerError(200, row["code"], row["message"], row["request_id"]) for row in content["errors"]
    }
    return Rewards(**{name: content[name] for name in ("rewards", "model", "method", "fingerprint")}, errors=errors)


def _error(outcome: "httpx2.Response | Exception") -> ServerError:
    if isinstance(outcome, Exception):
        return ServerError(0, "no_answer", f"the server cannot be reached ({outcome})")
    try:
        error = outcome.json()["error"]
        return ServerError(outcome.status_code, error["code"], error["message"], error["request_id"])
    except (ValueError, KeyError, TypeError):
        return ServerError(
            outcome.status_code, "other", f"answered {outcome.status_code} in a form that is not qdebias's"
        )
