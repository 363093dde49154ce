"""From the body of a request to what it asks, with a limit on everything that is counted, before an image is looked at.

Values in JSON are counted while the bytes arrive, by the marks that come before or between them: whatever a body holds,
no more of it is built than a sound one could have.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Raw, Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from qdebias.image import RgbImage
from qdebias.service.limits import Holding
from qdebias.service.refusal import Reason, Refusal, busy
from qdebias.service.schema import (
    ImageSource,
    ImagesRequest,
    PackedRewardRequest,
    RawPixels,
    RewardRequest,
    ScoreRequest,
)

Body = TypeVar("Body", bound=Struct)
Source = bytearray | memoryview | Raw | str | RgbImage | Refusal
"""An image: a file's bytes, a JSON string in base64, the URL where it is, or pixels; or why it was refused already."""

MARKS_AN_IMAGE = 2100
"""Most commas and opening brackets of a JSON body, for each image: a URL may consist of them."""

PACKED = "application/msgpack"
TEXT_FIELDS = ("method", "model", "url")
LONGEST_TEXT = 2048
"""Of a text in a form, in bytes."""

STEP = 16 * 1024
"""So many bytes are parsed before other requests have their turn."""

_PLACE = re.compile(r"\$\.(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks.

    Attributes:
        images: Each image.
        method: Name of a method; None for the default.
        model: Name of a model; None for the default.
        lossy: Whether files may be compressed with loss.
    """

    images: tuple[Source, ...]
    method: str | None
    model: str | None
    lossy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the images of a request are named, and how many there may be.

    Attributes:
        field: Name of the part of a multipart body, which may come several times where `most` is above 1.
        schema: The JSON body.
        most: How many images.
        body_bytes: Largest form.
        json_bytes: Largest JSON body.
        image_bytes: Largest encoded image.
        texts: The other parts of a multipart body.
    """

    field: str
    schema: type[ImagesRequest]
    most: int
    body_bytes: int
    json_bytes: int
    image_bytes: int
    texts: tuple[str, ...] = TEXT_FIELDS


async def read(request: Request, form: Form, memory: Holding) -> Asked:
    """Read and take apart the body of a request.

    Args:
        request: The request.
        form: What is expected.
        memory: Every byte that is kept is taken from here.

    Raises:
        Refusal: The body is too large, or is not what is expected.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        return await _read_multipart(request, form, memory)
    if kind == PACKED and form.schema is RewardRequest:
        return await _read_packed(request, form, memory)
    body = await read_json(request, form.json_bytes, form.most * MARKS_AN_IMAGE, memory)
    found = parse(form.schema, body)
    sources = [found.image] if isinstance(found, ScoreRequest) else found.images
    if len(sources) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    lossy = not isinstance(found, RewardRequest) or found.lossy
    return Asked(images=tuple(map(_source, sources)), method=found.method, model=found.model, lossy=lossy)


async def _read_packed(request: Request, form: Form, memory: Holding) -> Asked:
    body = bytearray()
    async for piece in _pieces(request, form.body_bytes, memory):
        body += piece
    try:
        found = msgspec.msgpack.decode(body, type=PackedRewardRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(Reason.MALFORMED) from error
    if len(found.images) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    images = tuple(_array(one) if isinstance(one, RawPixels) else one for one in found.images)
    return Asked(images=images, method=found.method, model=found.model, lossy=found.lossy)


def _array(image: RawPixels) -> RgbImage:
    if len(image.pixels) != image.height * image.width * 3:
        raise Refusal(Reason.MALFORMED, "pixels are height x width x 3 bytes")
    return np.frombuffer(image.pixels, dtype=np.uint8).reshape(image.height, image.width, 3)


async def read_json(request: Request, most: int, marks: int, memory: Holding) -> bytes:
    """Return the JSON body of a request.

    Args:
        request: The request.
        most: Largest body, in bytes.
        marks: Most commas and opening brackets in it.
        memory: Every byte is taken from here.

    Raises:
        Refusal: It is no JSON, or too large.
    """
    if media_type(request) != "application/json":
        raise Refusal(Reason.CONTENT_TYPE)
    pieces = []
    async for piece in _pieces(request, most, memory):
        marks -= sum(map(piece.count, (b",", b"[", b"{")))
        if marks < 0:
            raise Refusal(Reason.MALFORMED, "it holds too many values")
        pieces.append(piece)
    return b"".join(pieces)


def parse(schema: type[Body], body: bytes) -> Body:
    """Return a JSON body as its model; the refusal names the field that is wrong, and nothing of its value."""
    try:
        return msgspec.json.decode(body, type=schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        known = place is not None and place[1] in schema.__struct_fields__
        raise Refusal(Reason.MALFORMED, f"see {place[1]!r}" if place and known else "") from error


def _source(image: ImageSource) -> Source:
    if image.base64 is UNSET and isinstance(image.url, str):
        return image.url
    if image.url is UNSET and isinstance(image.base64, Raw) and bytes(memoryview(image.base64)[:1]) == b'"':
        return image.base64
    raise Refusal(Reason.MALFORMED, "an image is given by base64 or by url, as text")


def media_type(request: Request) -> str:
    """Return what the body of a request is said to be, in lower case and without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _read_multipart(request: Request, form: Form, memory: Holding) -> Asked:
    options = parse_options_header(request.headers["content-type"])[1]
    reader = _FormReader(form)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), reader.callbacks())  # type: ignore[arg-type]  # a dict of all
        async for piece in _pieces(request, form.body_bytes, memory):
            parser.write(piece)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Refusal(Reason.MALFORMED) from error
    if not reader.ended:
        raise Refusal(Reason.MALFORMED, "the last boundary is missing")
    if not reader.images:
        raise Refusal(Reason.MALFORMED, f"there is no part {form.field!r} with a file name, and no url")
    lossy = reader.text("lossy") or str(form.schema is not RewardRequest).lower()
    if lossy not in ("true", "false"):
        raise Refusal(Reason.MALFORMED, "lossy is true or false")
    return Asked(
        images=tuple(reader.images), method=reader.text("method"), model=reader.text("model"), lossy=lossy == "true"
    )


@dataclass(slots=True)
class _FormReader:
    """Keeps the parts of a form as they arrive; what is not expected, or is too much, is refused at once."""

    form: Form
    images: list[Source] = field(default_factory=list)
    texts: dict[str, bytearray] = field(default_factory=dict)
    ended: bool = False
    _header: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    _disposition: bytes = b""
    _name: str = ""
    _part: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> dict[str, Any]:
        """Return what the parser calls."""
        names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data")
        return {f"on_{name}": getattr(self, name) for name in (*names, "part_end", "end")}

    def part_begin(self) -> None:
        self._disposition, self._part = b"", bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = [bytearray(), bytearray()]

    def headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._name = options.get(b"name", b"").decode("latin-1")
        is_file = b"filename" in options
        if self._name not in (self.form.texts, (self.form.field,))[is_file] or self._name in self.texts:
            raise Refusal(Reason.MALFORMED, f"the parts are {', '.join((self.form.field, *self.form.texts))}")
        if is_file or self._name == "url":
            if len(self.images) == self.form.most:
                raise Refusal(Reason.TOO_MANY_IMAGES)
            self.images.append(self._part)
        else:
            self.texts[self._name] = self._part

    def part_data(self, data: bytes, start: int, end: int) -> None:
        text = self._name in self.form.texts
        if len(self._part) + end - start <= (LONGEST_TEXT if text else self.form.image_bytes):
            self._part += data[start:end]
        elif text:
            raise Refusal(Reason.MALFORMED, f"a text is longer than {LONGEST_TEXT} bytes")
        else:
            self.images[-1] = Refusal(Reason.TOO_LARGE)

    def part_end(self) -> None:
        if self._name == "url":
            self.images[-1] = self._part.decode()

    def end(self) -> None:
        self.ended = True

    def text(self, name: str) -> str | None:
        """Return a text of the form, None where there is none."""
        return self.texts[name].decode(errors="replace") if name in self.texts else None


async def _pieces(request: Request, most: int, memory: Holding) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives, in small pieces, up to a limit, as far as there is memory for it."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise Refusal(Reason.TOO_LARGE)
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > most:
            raise Refusal(Reason.TOO_LARGE)
        if not memory.take(len(chunk)):
            raise busy(1)
        for start in range(0, len(chunk), STEP):
            yield chunk[start : start + STEP]
            await asyncio.sleep(0)
