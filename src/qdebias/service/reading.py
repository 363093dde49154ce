"""From the body of a request to what it asks, with a limit on every byte, before any image is looked at."""

import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from qdebias.service.limits import Holding
from qdebias.service.refusal import Reason, Refusal, busy
from qdebias.service.schema import AnyImage, BatchRequest, EncodedImage, LinkedImage, ScoreRequest

Body = TypeVar("Body", bound=BaseModel)

TEXT_FIELDS = ("method", "model", "url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks.

    Attributes:
        images: Each image as its encoded bytes, or the URL where it is; or why it was refused already.
        method: Name of a method; None for the default.
        model: Name of a model; None for the default.
    """

    images: tuple[bytes | str | Refusal, ...]
    method: str | None
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the images of a request are named, and how many there may be.

    Attributes:
        field: Name of the part of a multipart body, which may come several times where `most` is above 1.
        schema: The JSON body.
        most: How many images.
        body_bytes: Largest body.
        image_bytes: Largest encoded image.
    """

    field: str
    schema: type[ScoreRequest] | type[BatchRequest]
    most: int
    body_bytes: int
    image_bytes: int


async def read(request: Request, form: Form, memory: Holding) -> Asked:
    """Read and take apart the body of a request.

    Args:
        request: The request.
        form: What is expected.
        memory: Every byte that is kept is taken from here.

    Raises:
        Refusal: The body is too large, or is not what is expected.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    readers = {"multipart/form-data": _read_multipart, "application/json": _read_json}
    if kind not in readers:
        raise Refusal(Reason.CONTENT_TYPE)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > form.body_bytes:
        raise Refusal(Reason.TOO_LARGE)
    return await readers[kind](request, form, memory)


async def read_json(request: Request, schema: type[Body], most: int, memory: Holding) -> Body:
    """Return the JSON body of a request that holds no image.

    Raises:
        Refusal: The body is too large, or is not what is expected.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refusal(Reason.CONTENT_TYPE)
    return parse(schema, await _whole(request, most, memory))


def parse(schema: type[Body], body: bytes) -> Body:
    """Return a JSON body as its model; the refusal names the first field that is wrong, and nothing of its value."""
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        known = set(schema.model_fields)
        place = next((str(part) for one in error.errors() for part in one["loc"][:1] if part in known), "")
        raise Refusal(Reason.MALFORMED, f"see {place!r}" if place else "") from error


async def _read_json(request: Request, form: Form, memory: Holding) -> Asked:
    found = parse(form.schema, await _whole(request, form.body_bytes, memory))
    if isinstance(found, ScoreRequest):
        images: list[AnyImage] = [found.image]
    elif isinstance(found, BatchRequest):
        images = found.images
    else:
        raise TypeError(form.schema)
    if len(images) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    return Asked(
        images=tuple(_content(image, form.image_bytes) for image in images), method=found.method, model=found.model
    )


def _content(image: AnyImage, most: int) -> bytes | str | Refusal:
    if isinstance(image, LinkedImage):
        return image.url
    return _decoded(image, most)


def _decoded(image: EncodedImage, most: int) -> bytes | Refusal:
    try:
        data = base64.b64decode(image.base64, validate=True)
    except (binascii.Error, ValueError):
        return Refusal(Reason.MALFORMED, "an image is not base64")
    return Refusal(Reason.TOO_LARGE) if len(data) > most else data


async def _read_multipart(request: Request, form: Form, memory: Holding) -> Asked:
    stream = _limited(request, form.body_bytes, memory)
    parser = _WholeForm(
        request.headers, stream, max_files=form.most + 1, max_fields=len(TEXT_FIELDS) + form.most, max_part_size=4096
    )
    parser.spool_max_size = form.body_bytes + 1  # never to the disk
    try:
        found = await parser.parse()
    except (MultiPartException, FormParserError, KeyError, ValueError) as error:
        raise Refusal(Reason.MALFORMED) from error
    async with _Closing(found):
        return await _take_apart(found, form)


async def _take_apart(found: FormData, form: Form) -> Asked:
    texts: dict[str, str] = {}
    images: list[bytes | str | Refusal] = []
    for name, value in found.multi_items():
        if name == form.field and isinstance(value, UploadFile):
            data = await value.read()
            images.append(Refusal(Reason.TOO_LARGE) if len(data) > form.image_bytes else data)
        elif name == "url" and isinstance(value, str):
            images.append(value)
        elif name in TEXT_FIELDS and isinstance(value, str) and name not in texts:
            texts[name] = value
        else:
            raise Refusal(Reason.MALFORMED, f"the parts are {form.field}, url, method and model")
    if not images:
        raise Refusal(Reason.MALFORMED, f"there is no part {form.field!r} with a file name, and no url")
    if len(images) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    return Asked(images=tuple(images), method=texts.get("method"), model=texts.get("model"))


class _WholeForm(MultiPartParser):
    """Refuses a body that ends before its last boundary, of which Starlette would leave out the part begun last."""

    _ended = False

    def on_end(self) -> None:
        """Note that the last boundary was read; the parser calls this."""
        self._ended = True

    async def parse(self) -> FormData:
        """Return the parts; every file is closed where there is an error."""
        self.stream = self._to_the_end(self.stream)
        return await super().parse()

    async def _to_the_end(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if not self._ended:
            raise MultiPartException("the last boundary is missing")


class _Closing:
    """Closes the files of a form."""

    def __init__(self, form: FormData) -> None:
        self._form = form

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        await self._form.close()


async def _whole(request: Request, most: int, memory: Holding) -> bytes:
    return b"".join([chunk async for chunk in _limited(request, most, memory)])


async def _limited(request: Request, most: int, memory: Holding) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives, up to a limit, as far as there is memory for it."""
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > most:
            raise Refusal(Reason.TOO_LARGE)
        if not memory.take(len(chunk)):
            raise busy(1)
        yield chunk
