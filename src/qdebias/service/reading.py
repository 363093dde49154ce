"""Parsing of request bodies, with limits on everything that a client can make large.

Values are counted before they are parsed, and long JSON strings, the images, are set aside while they arrive. So no
body takes more memory than a valid one, and little is left to be parsed in one call.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from qdebias.image import RgbImage
from qdebias.service.buffers import Upload
from qdebias.service.limits import Settings
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


Source = Upload | memoryview | str | RgbImage | Refusal
"""An image: a file, its URL, or pixels; or why it was refused already."""

Take = Callable[[int], bool]  # reserves memory for so many bytes; returns whether there is enough
VALUES_AN_IMAGE = 8
"""Limit on commas, opening brackets and strings in JSON, or values in msgpack, per image, plus that of 4 images."""

PACKED = "application/msgpack"
TEXT_FIELDS = ("method", "model", "url")
LONGEST_TYPE = 1000  # bytes of a Content-Type header; parsing time grows with the square of its length
LONGEST_TEXT = 2048  # bytes of a text in a form or in msgpack
LONGEST_STRING = 2 * LONGEST_TEXT  # bytes of a JSON string, escapes included, that is not set aside

STEP = 16 * 1024  # bytes that are parsed before other requests have their turn
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""A JSON string up to its closing quote, or to a backslash at the end of a piece."""
_PLACEHOLDER = secrets.token_hex(16).encode()  # with a number, replaces a string that was set aside; secret
_PLACE = re.compile(r"\$\.(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """The content of a request."""

    images: tuple[Source, ...]
    method: str | None  # None for the default
    model: str | None
    lossy: bool = True  # whether files may be compressed with loss


class Form:
    """The form of the requests of a route: field names and limits; `schema` is that of a JSON body."""

    def __init__(self, schema: type[ImagesRequest], limits: Settings) -> None:
        one, reward = schema is ScoreRequest, schema is RewardRequest
        self.schema, self.limits = schema, limits
        self.field, self.most = ("image", 1) if one else ("images", limits.images)  # the part with a file, how often
        self.texts = (*TEXT_FIELDS, "lossy") if reward else TEXT_FIELDS  # the other parts
        self.values = VALUES_AN_IMAGE * (self.most + 4)  # most in JSON or msgpack
        self.body_bytes = limits.body_bytes  # of a form or msgpack
        if not one:
            self.body_bytes = min(limits.images * limits.body_bytes, limits.held_bytes)
        self.reward = reward  # then msgpack is accepted, and files compressed with loss are refused by default


async def read(request: Request, form: Form, take: Take) -> ParsedRequest:
    """Read and parse the body of a request."""
    kind = media_type(request)
    if kind == "multipart/form-data":
        return await _read_multipart(request, form, take)
    if kind == PACKED and form.reward:
        return await _read_packed(request, form, take)
    body = await read_json(request, form.limits.body_bytes, form.values, take)
    asked = parse(form.schema, body.rest)
    sources = [asked.image] if isinstance(asked, ScoreRequest) else asked.images
    if len(sources) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    images = tuple(_source(image, body) for image in sources)
    if sum(isinstance(image, Upload) and len(image) > LONGEST_STRING for image in images) != len(body.long):
        raise Refusal(Reason.MALFORMED, "a text is too long")
    lossy = asked.lossy if isinstance(asked, RewardRequest) else True
    return ParsedRequest(images=images, method=asked.method, model=asked.model, lossy=lossy)


async def _read_packed(request: Request, form: Form, take: Take) -> ParsedRequest:
    upload = Upload(min(form.body_bytes, _announced(request) or form.body_bytes))
    async for piece in _pieces(request, form.body_bytes, take):
        upload.write(piece)
    body, place = upload.view, 0
    for _ in range(form.values):
        if place < len(body):
            place += _packed_size(body, place)
    if place < len(body):
        raise Refusal(Reason.MALFORMED, "it holds too many values")
    try:
        asked = msgspec.msgpack.decode(body, type=PackedRewardRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(Reason.MALFORMED) from error
    if len(asked.images) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    images: list[Source] = []
    for image in asked.images:
        if not isinstance(image, RawPixels):
            images.append(image)
        elif len(image.pixels) == image.height * image.width * 3:
            images.append(np.frombuffer(image.pixels, dtype=np.uint8).reshape(image.height, image.width, 3))
        else:
            raise Refusal(Reason.MALFORMED, "pixels are height x width x 3 bytes")
    return ParsedRequest(images=tuple(images), method=asked.method, model=asked.model, lossy=asked.lossy)


_LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Size of the length field of msgpack's byte strings and, from 0xD9 on, texts, by the first byte of a value."""
_NUMBER_BYTES = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4} | {kind: 1 << (kind & 3) for kind in range(0xCC, 0xD4)}
"""Bytes behind the first of msgpack's numbers, and of the headers of lists and maps."""


def _packed_size(body: memoryview, place: int) -> int:
    """Return the size of a msgpack value in bytes; for a list or map, of its header."""
    kind = body[place]
    if 0xA0 <= kind < 0xC0:
        return 1 + (kind & 31)
    if kind not in _LENGTH_BYTES:
        return 1 + _NUMBER_BYTES.get(kind, 0)
    head = 1 + _LENGTH_BYTES[kind]
    length = int.from_bytes(body[place + 1 : place + head], "big")
    if kind >= 0xD9 and length > LONGEST_TEXT:
        raise Refusal(Reason.MALFORMED, f"a text is longer than {LONGEST_TEXT} bytes")
    return head + length


class JsonBody:
    """A JSON body of at most `most` bytes, whose long strings are set aside as it arrives.

    `values` limits the number of commas, opening brackets and strings in it.
    """

    def __init__(self, most: int, values: int) -> None:
        self.rest = bytearray()  # the body, with a placeholder for each string of more than LONGEST_STRING bytes
        self.long: list[Upload] = []  # these strings
        self._values, self._most, self._longest = values, values * LONGEST_STRING, most + 1
        self._string = Upload(self._longest, base64=True)
        self._inside, self._backslash = False, b""

    def write(self, piece: bytes) -> None:
        """Add the next bytes; refuses too many values."""
        piece, self._backslash, start = self._backslash + piece, b"", 0
        while start < len(piece):
            if self._inside:
                start = self._write_string(piece, start)
            else:
                end = piece.find(b'"', start)
                between = piece[start:] if end < 0 else piece[start:end]
                self._values -= sum(map(between.count, (b",", b"[", b"{"))) + (end >= 0)
                self.rest += between
                self._inside = end >= 0
                start = len(piece)
                if self._inside:
                    self._string = Upload(self._longest, base64=True)
                    self._string.write(b'"')
                    start = end + 1
            if self._values < 0 or len(self.rest) > self._most:
                raise Refusal(Reason.MALFORMED, "it holds too many values")

    def complete(self) -> None:
        """Refuse a body that ends inside a string."""
        if self._inside:
            raise Refusal(Reason.MALFORMED)

    def _write_string(self, piece: bytes, start: int) -> int:
        """Add bytes of a string and return the place behind them."""
        end = _STRING.match(piece, start).end()  # type: ignore[union-attr]  # it always matches
        self._string.write(piece[start:end])
        if piece[end : end + 1] != b'"':
            self._backslash = piece[end:]  # at the end of the piece; what it escapes is in the next one
            return len(piece)
        self._string.write(b'"')
        self._inside = False
        if len(self._string) > LONGEST_STRING:
            self.rest += b'"%s%d"' % (_PLACEHOLDER, len(self.long))
            self.long.append(self._string)
        else:
            self.rest += self._string.view
        return end + 1


async def read_json(request: Request, most: int, values: int, take: Take) -> JsonBody:
    """Return the JSON body of a request, of at most `most` bytes and `values` values."""
    if media_type(request) != "application/json":
        raise Refusal(Reason.CONTENT_TYPE)
    body = JsonBody(most, values)
    async for piece in _pieces(request, most, take):
        body.write(piece)
    body.complete()
    return body


def parse(schema: type[Body], body: bytes | bytearray) -> Body:
    """Return a JSON body as its model; the refusal names the wrong field, but not its value."""
    try:
        return msgspec.json.decode(body, type=schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        known = place is not None and place[1] in schema.__struct_fields__
        raise Refusal(Reason.MALFORMED, f"see {place[1]!r}" if place and known else "") from error


def _source(image: ImageSource, body: JsonBody) -> Source:
    if image.base64 is UNSET and isinstance(image.url, str):
        return image.url
    text = b"" if image.url is not UNSET or image.base64 is UNSET else bytes(image.base64)
    if not text.startswith(b'"'):
        raise Refusal(Reason.MALFORMED, "an image is given by base64 or by url, as text")
    if text[1:].startswith(_PLACEHOLDER):
        return body.long[int(text[1 + len(_PLACEHOLDER) : -1])]
    upload = Upload(len(text), base64=True)
    upload.write(text)
    return upload


def media_type(request: Request) -> str:
    """Return the media type of a request's body, in lower case and without parameters."""
    content_type = request.headers.get("content-type", "")
    if len(content_type) > LONGEST_TYPE:
        raise Refusal(Reason.CONTENT_TYPE)
    return content_type.split(";")[0].strip().lower()


async def _read_multipart(request: Request, form: Form, take: Take) -> ParsedRequest:
    options = parse_options_header(request.headers["content-type"])[1]
    reader = _FormReader(form)
    callbacks: Any = {name: getattr(reader, name) for name in dir(reader) if name.startswith("on_")}
    try:
        parser = MultipartParser(options.get(b"boundary", b""), callbacks)
        async for piece in _pieces(request, form.body_bytes, take):
            parser.write(piece)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Refusal(Reason.MALFORMED) from error
    if not reader.ended:
        raise Refusal(Reason.MALFORMED, "the last boundary is missing")
    if not reader.images:
        raise Refusal(Reason.MALFORMED, f"there is no part {form.field!r} with a file name, and no url")
    texts = {name: str(text.view, "utf-8", "replace") for name, text in reader.texts.items()}
    lossy = texts.get("lossy") or str(not form.reward).lower()
    if lossy not in ("true", "false"):
        raise Refusal(Reason.MALFORMED, "lossy is true or false")
    named = {name: texts.get(name) for name in ("method", "model")}
    return ParsedRequest(images=tuple(reader.images), **named, lossy=lossy == "true")


class _FormReader:
    """Collects the parts of a form as they arrive; refuses unknown parts and too many or too large ones at once."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.images: list[Source] = []
        self.texts: dict[str, Upload] = {}
        self.ended = False
        self._header, self._value = bytearray(), bytearray()
        self._name = ""

    def on_part_begin(self) -> None:
        self._disposition, self._part = b"", Upload(self.form.limits.image_bytes)

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
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

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        text = self._name in self.form.texts
        if len(self._part) + end - start <= (LONGEST_TEXT if text else self.form.limits.image_bytes):
            self._part.write(data[start:end])
        elif text:
            raise Refusal(Reason.MALFORMED, f"a text is longer than {LONGEST_TEXT} bytes")
        else:
            self.images[-1] = Refusal(Reason.TOO_LARGE)

    def on_part_end(self) -> None:
        if self._name == "url":
            self.images[-1] = str(self._part.view, "utf-8")

    def on_end(self) -> None:
        self.ended = True


def _announced(request: Request) -> int:
    """Return the announced length of a body, 0 if there is none."""
    announced = request.headers.get("content-length", "")
    return int(announced[:20]) if announced.isdecimal() else 0


async def _pieces(request: Request, most: int, take: Take) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives in small pieces, up to a limit, while there is memory for it."""
    if _announced(request) > most:
        raise Refusal(Reason.TOO_LARGE)
    count = 0
    try:
        async for chunk in request.stream():
            count += len(chunk)
            if count > most:
                raise Refusal(Reason.TOO_LARGE)
            if not take(len(chunk)):
                raise busy(1)
            for start in range(0, len(chunk), STEP):
                yield chunk[start : start + STEP]
                await asyncio.sleep(0)
    except ClientDisconnect as error:
        raise Refusal(Reason.CLIENT_LEFT) from error
