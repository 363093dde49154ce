"""Decoding in a process that may be killed: the same pixels, and nothing of what goes wrong gets out."""

import asyncio
import os
import resource
import signal
import struct
import zlib
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from qdebias.image import load_image
from qdebias.service import decoders
from qdebias.service.decoder import FORMATS, Verdict, decode
from qdebias.service.decoders import Decoder
from qdebias.service.refusal import Reason, Refusal
from serving import encoded, noise

PIXELS = 10_000


def with_decoder(use: Callable[[Decoder], Awaitable[None]], *, seconds: float = 60.0) -> None:
    async def story() -> None:
        decoder = Decoder(max_pixels=PIXELS, seconds=seconds)
        try:
            await use(decoder)
        finally:
            await decoder.stop()

    asyncio.run(story())


async def reason(decoder: Decoder, data: bytes) -> Reason:
    with pytest.raises(Refusal) as caught:
        await decoder.decode(data)
    return caught.value.reason


def png(width: int, height: int, body: bytes) -> bytes:
    """Return a PNG whose header may promise what its body does not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def pictures() -> dict[str, bytes]:
    """Return sound files of every format and pixel type that the service takes."""
    image = noise(1)
    made = {name: encoded(image, name) for name in FORMATS}
    for mode in ("L", "LA", "P", "RGBA", "1"):
        out = BytesIO()
        Image.fromarray(image).convert(mode).save(out, "PNG")
        made[f"PNG {mode}"] = out.getvalue()
    for mode, kind in (("CMYK", "JPEG"), ("L", "JPEG"), ("CMYK", "TIFF"), ("RGBA", "WEBP")):
        out = BytesIO()
        Image.fromarray(image).convert(mode).save(out, kind)
        made[f"{kind} {mode}"] = out.getvalue()
    out = BytesIO()
    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20).save(out, "PNG")
    made["PNG 16 bit"] = out.getvalue()
    upright = Image.Exif()
    upright[0x0112] = 6
    made["JPEG turned"] = encoded(image, "JPEG", exif=upright)
    made["JPEG progressive"] = encoded(image, "JPEG", progressive=True)
    made["TIFF compressed"] = encoded(image, "TIFF", compression="tiff_lzw")
    return made


def test_pixels_are_those_of_load_image() -> None:
    async def use(decoder: Decoder) -> None:
        for name, data in pictures().items():
            got = await decoder.decode(data)
            np.testing.assert_array_equal(got, load_image(Image.open(BytesIO(data))), err_msg=name)

    with_decoder(use)


def test_each_bad_image_has_its_reason_and_the_next_one_is_decoded() -> None:
    several = BytesIO()
    Image.fromarray(noise(1)).save(several, "TIFF", save_all=True, append_images=[Image.fromarray(noise(2))])
    animated = BytesIO()
    Image.fromarray(noise(1)).save(
        animated, "WEBP", save_all=True, append_images=[Image.fromarray(noise(2))], lossless=True
    )
    floats = BytesIO()
    Image.fromarray(np.zeros((40, 40), np.float32)).save(floats, "TIFF")
    sound = encoded(noise(1))
    bad = {
        Reason.NO_IMAGE: [
            b"",
            b"GIF89a",
            b"%PDF-1.7",
            b"%!PS-Adobe-3.0 EPSF",
            b"8BPS\0\1",
            b"SIMPLE  =                    T",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            encoded(noise(1), "GIF"),
            encoded(noise(1), "PPM"),
        ],
        Reason.TOO_MANY_PIXELS: [
            png(60_000, 60_000, b""),
            png(101, 100, bytes(101 * 301)),
            png(2**31 - 1, 2**31 - 1, b""),
        ],
        Reason.TOO_SMALL: [encoded(noise(1, 1, 1)), encoded(noise(1, 31, 64)), encoded(noise(1, 64, 31))],
        Reason.SEVERAL_FRAMES: [several.getvalue(), animated.getvalue()],
        Reason.PIXEL_TYPE: [floats.getvalue()],
        Reason.DAMAGED: [sound[: len(sound) // 2], png(64, 64, b""), encoded(noise(1), "JPEG")[:-900]],
    }

    async def use(decoder: Decoder) -> None:
        for wanted, files in bad.items():
            for data in files:
                assert await reason(decoder, data) is wanted, (wanted, data[:20])
                assert (await decoder.decode(sound)).shape == (48, 64, 3)

    with_decoder(use)


def test_a_decoder_that_hangs_is_killed_and_replaced() -> None:
    async def use(decoder: Decoder) -> None:
        await decoder.decode(encoded(noise(1)))
        process = decoder.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        decoder.seconds = 0.2
        assert await reason(decoder, encoded(noise(1))) is Reason.DECODING_TOOK_TOO_LONG
        assert process.returncode == -signal.SIGKILL
        decoder.seconds = 60.0
        assert (await decoder.decode(encoded(noise(2)))).shape == (48, 64, 3)

    with_decoder(use)


def test_a_decoder_that_dies_costs_its_image_alone() -> None:
    async def use(decoder: Decoder) -> None:
        await decoder.start()
        assert decoder.process is not None
        decoder.process.kill()
        assert await reason(decoder, encoded(noise(1))) is Reason.DECODING_TOOK_TOO_LONG
        assert (await decoder.decode(encoded(noise(2)))).shape == (48, 64, 3)

    with_decoder(use)


def test_after_many_images_the_next_process_takes_over_when_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "IMAGES_A_PROCESS", 3)

    async def use(decoder: Decoder) -> None:
        used: dict[int, int] = {}
        while len(used) < 3:
            np.testing.assert_array_equal(await decoder.decode(encoded(noise(1))), noise(1))
            assert decoder.process is not None
            used[decoder.process.pid] = used.get(decoder.process.pid, 0) + 1
            await asyncio.sleep(0.001)
        first, second, _ = used
        assert min(used[first], used[second]) > 4  # each went on while the next one started
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        while used[decoder.process.pid] < 4:  # the fourth is being started when it stops
            await decoder.decode(encoded(noise(1)))
            used[decoder.process.pid] += 1

    with_decoder(use)


def test_a_successor_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "IMAGES_A_PROCESS", 1)
    tried = []

    async def use(decoder: Decoder) -> None:
        start = decoder._started

        async def failing() -> Process:
            tried.append(len(tried))
            if len(tried) == 1:
                raise OSError("no more processes")
            return await start()

        await decoder.start()
        first = decoder.process
        monkeypatch.setattr(decoder, "_started", failing)
        while decoder.process is first:
            assert (await decoder.decode(encoded(noise(1)))).shape == (48, 64, 3)
            await asyncio.sleep(0.001)
        assert len(tried) >= 2

    with_decoder(use)


def test_a_client_that_leaves_in_the_midst_leaves_no_answer_behind() -> None:
    async def use(decoder: Decoder) -> None:
        await decoder.start()
        first = asyncio.ensure_future(decoder.decode(encoded(noise(1))))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        np.testing.assert_array_equal(await decoder.decode(encoded(noise(2))), noise(2))

    with_decoder(use)


def test_the_process_has_little_memory_and_can_open_nothing() -> None:
    async def use(decoder: Decoder) -> None:
        await decoder.decode(encoded(noise(1)))
        assert decoder.process is not None
        limits = {
            name: resource.prlimit(decoder.process.pid, getattr(resource, f"RLIMIT_{name}"))
            for name in ("AS", "NOFILE", "FSIZE", "CORE")
        }
        assert 0 < limits["AS"][0] < 2 << 30
        assert (limits["NOFILE"], limits["FSIZE"], limits["CORE"]) == ((3, 3), (0, 0), (0, 0))

    with_decoder(use)


def test_whatever_a_decoder_raises_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError, RecursionError, struct.error("at 0x7f00deadbeef"), KeyError("/etc"), ZeroDivisionError):

        def raising(*_: object, error: BaseException | type[BaseException] = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("qdebias.service.decoder.load_image", raising)
        assert decode(encoded(noise(1)), max_pixels=PIXELS) is Verdict.DAMAGED
