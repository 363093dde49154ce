"""From the body of a request to what it asks, with a limit on everything that is counted, before an image is looked at.

Values are counted before anything is built of them, and the long strings of JSON, its images, are put aside while the
bytes arrive: of no body more is built than of a sound one, and little is left to be parsed at once.
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
"""An image: a file, the URL where it is, or pixels; or why it was refused already."""

Take = Callable[[int], bool]  # says whether there is memory for so many bytes more, and takes it
VALUES_AN_IMAGE = 8
"""Most commas, opening brackets and strings of JSON, or values of msgpack, an image; for the rest as for 4."""

PACKED = "application/msgpack"
TEXT_FIELDS = ("method", "model", "url")
LONGEST_TYPE = 1000  # of a Content-Type header, in bytes; what it takes to parse grows with the square of its length
LONGEST_TEXT = 2048  # of a text in a form or in msgpack, in bytes
LONGEST_STRING = 2 * LONGEST_TEXT
"""Of a string in JSON that is parsed with what is around it, in bytes as they stand there."""

STEP = 16 * 1024  # so many bytes are parsed before other requests have their turn
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""A JSON string up to its closing quote, or to a backslash at the end of a piece."""
_STANDS_FOR = secrets.token_hex(16).encode()
"""With a number behind it, what stands instead of a string that was put aside; nobody else knows it."""
_PLACE = re.compile(r"\$\.(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """What a request asks."""

    images: tuple[Source, ...]
    method: str | None  # None: the default
    model: str | None
    lossy: bool = True  # whether files may be compressed with loss


class Form:
    """How the images of a request are named, and how many there may be; `schema` is that of the JSON body."""

    def __init__(self, schema: type[ImagesRequest], limits: Settings) -> None:
        one, reward = schema is ScoreRequest, schema is RewardRequest
        self.schema, self.limits = schema, limits
        # the name of the part of a multipart body, which may come several times, and those of the other parts
        self.field, self.most = ("image", 1) if one else ("images", limits.images)
        self.texts = (*TEXT_FIELDS, "lossy") if reward else TEXT_FIELDS
        self.values = VALUES_AN_IMAGE * (self.most + 4)  # most in JSON or msgpack
        self.body_bytes = limits.body_bytes if one else limits.batch_body_bytes  # of a form or msgpack
        self.reward = reward  # then it may be msgpack, and files compressed with loss are refused unless it allows them


async def read(request: Request, form: Form, take: Take) -> ParsedRequest:
    """Read and take apart the body of a request, as far as there is memory for it."""
    kind = media_type(request)
    if kind == "multipart/form-data":
        return await _read_multipart(request, form, take)
    if kind == PACKED and form.reward:
        return await _read_packed(request, form, take)
    body = await read_json(request, form.limits.body_bytes, form.values, take)
    found = parse(form.schema, body.rest)
    sources = [found.image] if isinstance(found, ScoreRequest) else found.images
    if len(sources) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    images = tuple(_source(image, body) for image in sources)
    if sum(isinstance(image, Upload) and len(image) > LONGEST_STRING for image in images) != len(body.long):
        raise Refusal(Reason.MALFORMED, "a text is too long")
    lossy = found.lossy if isinstance(found, RewardRequest) else True
    return ParsedRequest(images=images, method=found.method, model=found.model, lossy=lossy)


async def _read_packed(request: Request, form: Form, take: Take) -> ParsedRequest:
    upload = Upload(min(form.body_bytes, _announced(request) or form.body_bytes))
    async for piece in _pieces(request, form.body_bytes, take):
        upload.write(piece)
    body, place = upload.view, 0
    for _ in range(form.values):  # of more values, or longer texts, than a sound body has, few are looked at
        if place < len(body):
            place += _packed_size(body, place)
    if place < len(body):
        raise Refusal(Reason.MALFORMED, "it holds too many values")
    try:
        found = msgspec.msgpack.decode(body, type=PackedRewardRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(Reason.MALFORMED) from error
    if len(found.images) > form.most:
        raise Refusal(Reason.TOO_MANY_IMAGES)
    images: list[Source] = []
    for one in found.images:
        if not isinstance(one, RawPixels):
            images.append(one)
        elif len(one.pixels) == one.height * one.width * 3:
            images.append(np.frombuffer(one.pixels, dtype=np.uint8).reshape(one.height, one.width, 3))
        else:
            raise Refusal(Reason.MALFORMED, "pixels are height x width x 3 bytes")
    return ParsedRequest(images=tuple(images), method=found.method, model=found.model, lossy=found.lossy)


_LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Of bytes and, from 0xD9 on, texts in msgpack: how many bytes say how long they are."""
_NUMBER_BYTES = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4} | {kind: 1 << (kind & 3) for kind in range(0xCC, 0xD4)}
"""Of integers, of lists and maps of which only the head is meant: how many bytes follow the first."""


def _packed_size(body: memoryview, place: int) -> int:
    """Return how many bytes a value has, without those inside it."""
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
    """A JSON body of at most `most` bytes, taken apart as it arrives.

    `values` are the most commas, opening brackets and strings in it.
    """

    def __init__(self, most: int, values: int) -> None:
        self.rest = bytearray()  # the body with each string of more than LONGEST_STRING bytes replaced by a short one
        self.long: list[Upload] = []  # those strings
        self._values, self._most, self._longest = values, values * LONGEST_STRING, most + 1
        self._string = Upload(self._longest, base64=True)
        self._inside, self._backslash = False, b""

    def write(self, piece: bytes) -> None:
        """Take the next bytes; too many values are refused."""
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
        """Refuse a body that ends in a string."""
        if self._inside:
            raise Refusal(Reason.MALFORMED)

    def _write_string(self, piece: bytes, start: int) -> int:
        """Take the bytes of a string, and return where what follows them starts."""
        end = _STRING.match(piece, start).end()  # type: ignore[union-attr]  # it matches no byte at least
        self._string.write(piece[start:end])
        if piece[end : end + 1] != b'"':
            self._backslash = piece[end:]  # with which the piece may end; the next one says what it escapes
            return len(piece)
        self._string.write(b'"')
        self._inside = False
        if len(self._string) > LONGEST_STRING:
            self.rest += b'"%s%d"' % (_STANDS_FOR, len(self.long))
            self.long.append(self._string)
        else:
            self.rest += self._string.view
        return end + 1


async def read_json(request: Request, most: int, values: int, take: Take) -> JsonBody:
    """Return the JSON body of a request: at most so many bytes, and so many values as `JsonBody` counts them."""
    if media_type(request) != "application/json":
        raise Refusal(Reason.CONTENT_TYPE)
    body = JsonBody(most, values)
    async for piece in _pieces(request, most, take):
        body.write(piece)
    body.complete()
    return body


def parse(schema: type[Body], body: bytes | bytearray) -> Body:
    """Return a JSON body as its model; the refusal names the field that is wrong, and nothing of its value."""
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
    if text[1:].startswith(_STANDS_FOR):
        return body.long[int(text[1 + len(_STANDS_FOR) : -1])]
    upload = Upload(len(text), base64=True)
    upload.write(text)
    return upload


def media_type(request: Request) -> str:
    """Return what the body of a request is said to be, in lower case and without parameters."""
    said = request.headers.get("content-type", "")
    if len(said) > LONGEST_TYPE:
        raise Refusal(Reason.CONTENT_TYPE)
    return said.split(";")[0].strip().lower()


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
    """Keeps the parts of a form as they arrive; what is not expected, or is too much, is refused at once."""

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
    """Return how long a body is said to be, 0 where that is not said."""
    announced = request.headers.get("content-length", "")
    return int(announced[:20]) if announced.isdecimal() else 0


async def _pieces(request: Request, most: int, take: Take) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives, in small pieces, up to a limit, as far as there is memory for it."""
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
