"""Decoding in other processes: see `decoder` for what they do, `processes` for how they are kept."""

from typing import IO

import numpy as np

from qdebias.image import RgbImage
from qdebias.service.decoder import HEAD, SIZE, Kind, Verdict
from qdebias.service.processes import EndedError, Pool, Process
from qdebias.service.reading import Base64
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.settings import Settings

_REFUSALS = {
    Verdict.NO_IMAGE: (Reason.NO_IMAGE, ""),
    Verdict.TOO_MANY_PIXELS: (Reason.TOO_MANY_PIXELS, ""),
    Verdict.TOO_SMALL: (Reason.TOO_SMALL, ""),
    Verdict.SEVERAL_FRAMES: (Reason.SEVERAL_FRAMES, ""),
    Verdict.PIXEL_TYPE: (Reason.PIXEL_TYPE, ""),
    Verdict.DAMAGED: (Reason.DAMAGED, ""),
    Verdict.NOT_BASE64: (Reason.MALFORMED, "an image is not base64"),
    Verdict.TOO_LARGE: (Reason.TOO_LARGE, ""),
    Verdict.LOSSY: (Reason.LOSSY, ""),
}

_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""Has glibc give the memory of an image back to the system as soon as it is done; by itself it learns to keep it."""


def decoders(settings: Settings) -> Pool:
    """Return the processes that decode."""
    return Pool([decoder(settings) for _ in range(settings.decoders)])


def decoder(settings: Settings) -> Process:
    """Return a process that decodes."""
    limits = (settings.pixels, settings.image_bytes)
    return Process("qdebias.service.decoder", *limits, seconds=settings.decode_seconds, environment=_MEMORY)


async def decode(process: Process, data: bytes | bytearray | memoryview, *, lossy: bool = True) -> RgbImage:
    """Return the pixels of a file, which may be Base64.

    Args:
        process: What decodes.
        data: The file.
        lossy: Whether files may be compressed with loss.

    Raises:
        Refusal: It is no image that can be scored, or took too much time or memory.
    """

    def exchange(source: IO[bytes], sink: IO[bytes]) -> RgbImage | Verdict:
        view = memoryview(data)
        kind = (Kind.BASE64 if isinstance(data, Base64) else Kind(0)) | (Kind(0) if lossy else Kind.LOSSLESS)
        source.write(HEAD.pack(kind, len(view)))
        source.write(view)
        source.flush()
        verdict = Verdict(_read(sink, 1)[0])
        return _pixels(sink) if verdict is Verdict.PIXELS else verdict

    try:
        found = await process.run(exchange)
    except EndedError as error:
        raise Refusal(Reason.DECODING_TOOK_TOO_LONG) from error
    if isinstance(found, Verdict):
        raise Refusal(*_REFUSALS[found])
    return found


def _pixels(sink: IO[bytes]) -> RgbImage:
    image = np.empty((*SIZE.unpack(_read(sink, SIZE.size)), 3), dtype=np.uint8)
    if sink.readinto(image.data.cast("B")) < image.nbytes:  # type: ignore[attr-defined]  # of every buffered reader
        raise EOFError
    return image


def _read(sink: IO[bytes], count: int) -> bytes:
    found = sink.read(count)
    if len(found) < count:
        raise EOFError
    return found
