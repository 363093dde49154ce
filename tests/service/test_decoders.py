"""Decoding in a process that may be killed: the same pixels, and nothing of what goes wrong gets out."""

import asyncio
import base64
import json
import os
import resource
import signal
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdebias.image import RgbImage, load_image
from qdebias.service import processes
from qdebias.service.buffers import Upload
from qdebias.service.decoder import FORMATS
from qdebias.service.decoder import decode as decode_here
from qdebias.service.limits import Settings
from qdebias.service.processes import Decoder, Pool, Process
from qdebias.service.refusal import Reason, Refusal
from serving import encoded, noise

PIXELS = 10_000


def with_decoder(use: Callable[[Decoder], Awaitable[None]], *, seconds: float = 60.0) -> None:
    async def story() -> None:
        process = Decoder(Settings(pixels=PIXELS, decode_seconds=seconds))
        await process.start()
        try:
            await use(process)
        finally:
            process.stop()

    asyncio.run(story())


async def reason(process: Decoder, data: bytes) -> Reason:
    with pytest.raises(Refusal) as caught:
        await process.decode(data)
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
    async def use(process: Decoder) -> None:
        for name, data in pictures().items():
            got = await process.decode(data)
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

    async def use(process: Decoder) -> None:
        for wanted, files in bad.items():
            for data in files:
                assert await reason(process, data) is wanted, (wanted, data[:20])
                assert (await process.decode(sound)).shape == (48, 64, 3)

    with_decoder(use)


def with_pool(use: Callable[[Pool[Decoder]], Awaitable[None]], **settings: float) -> None:
    async def story() -> None:
        chosen = Settings(pixels=10_000_000, **settings)  # type: ignore[arg-type]
        pool = Pool([Decoder(chosen) for _ in range(chosen.decoders)])
        pool.start()
        try:
            await use(pool)
        finally:
            await pool.stop()

    asyncio.run(story())


async def pixels(pool: Pool[Decoder], data: bytes) -> RgbImage:
    async with pool.idle() as process:
        return await process.decode(data)


def test_a_decoder_that_hangs_is_killed_and_replaced() -> None:
    async def use(pool: Pool[Decoder]) -> None:
        async with pool.idle() as process:
            first = process.process
            assert first is not None
            os.kill(first.pid, signal.SIGSTOP)
            process.seconds = 0.2
            assert await reason(process, encoded(noise(1))) is Reason.DECODING_TOOK_TOO_LONG
            assert not pool.able
            process.seconds = 60.0
        assert (await pixels(pool, encoded(noise(2)))).shape == (48, 64, 3)
        assert pool.able == 1
        with pytest.raises(ProcessLookupError):
            os.kill(first.pid, 0)

    with_pool(use, decoders=1)


def test_a_decoder_that_dies_at_work_costs_its_image_alone() -> None:
    async def use(pool: Pool[Decoder]) -> None:
        async with pool.idle() as process:
            assert process.process is not None
            os.kill(process.process.pid, signal.SIGSTOP)
            image = asyncio.ensure_future(process.decode(encoded(noise(1))))
            await asyncio.sleep(0.1)
            process.process.kill()
            with pytest.raises(Refusal) as caught:
                await image
            assert caught.value.reason is Reason.DECODING_TOOK_TOO_LONG
        assert (await pixels(pool, encoded(noise(2)))).shape == (48, 64, 3)

    with_pool(use, decoders=1)


def test_a_decoder_that_dies_idle_costs_no_image() -> None:
    async def use(pool: Pool[Decoder]) -> None:
        async with pool.idle() as process:
            first = process.process
        assert first is not None
        first.kill()
        first.wait()
        assert not pool.able
        assert (await pixels(pool, encoded(noise(2)))).shape == (48, 64, 3)
        assert pool.able == 1

    with_pool(use, decoders=1)


def test_after_many_images_a_process_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TASKS_A_PROCESS", 3)

    async def use(pool: Pool[Decoder]) -> None:
        used = []
        for _ in range(7):
            async with pool.idle() as process:
                np.testing.assert_array_equal(await process.decode(encoded(noise(1))), noise(1))
                assert process.process is not None
                used.append(process.process.pid)
        assert [used.count(pid) for pid in dict.fromkeys(used)] == [3, 3, 1]

    with_pool(use, decoders=1)


def test_a_process_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "RETRY_SECONDS", 0.01)
    tried = []
    start = Process._start

    def failing(process: Process) -> None:
        tried.append(process)
        if len(tried) < 3:
            raise OSError("no more processes")
        start(process)

    monkeypatch.setattr(Process, "_start", failing)

    async def use(pool: Pool[Decoder]) -> None:
        assert (await pixels(pool, encoded(noise(1)))).shape == (48, 64, 3)
        assert len(tried) == 3

    with_pool(use, decoders=1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and glibc's memory is tuned")
def test_the_memory_of_a_large_image_is_given_back() -> None:
    def memory(process: Decoder) -> int:
        assert process.process is not None
        return int(Path(f"/proc/{process.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    async def story() -> None:
        process = Decoder(Settings())
        await process.start()
        try:
            before = memory(process)
            for kind in ("JPEG", "PNG", "JPEG"):
                assert (await process.decode(encoded(np.zeros((4000, 3000, 3), np.uint8), kind))).nbytes == 36_000_000
                await asyncio.sleep(0.1)
            assert memory(process) - before < 8 << 20
        finally:
            process.stop()

    asyncio.run(story())


def test_clients_that_leave_at_any_moment_leave_no_answer_behind_and_lose_no_decoder() -> None:
    large = encoded(noise(1, 2000, 3000), "BMP")
    rng = np.random.default_rng(0)

    async def use(pool: Pool[Decoder]) -> None:
        await pixels(pool, large)
        for _ in range(40):  # about as long as one takes: some leave while the pixels come back
            leaving = asyncio.ensure_future(pixels(pool, large))
            await asyncio.wait({leaving}, timeout=float(rng.uniform(0, 0.1)))
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        for seed in range(4):
            np.testing.assert_array_equal(await pixels(pool, encoded(noise(seed))), noise(seed))
        assert pool.able == 2

    with_pool(use, decoders=2)


def test_base64_may_have_lines_and_be_a_data_url() -> None:
    plain = encoded(noise(1))
    lines = base64.encodebytes(plain).decode()
    sound = [lines, lines.replace("\n", "\r\n"), "data:image/png;base64," + lines, base64.b64encode(plain).decode()]
    bad = ["***", lines[:-3], "data:image/png," + lines, "data:;base64", "\u00e9" * 4, "\ud800"]

    def upload(text: str) -> Upload:
        found = Upload(1_000_000, base64=True)
        found.write(json.dumps(text).encode())
        return found

    async def use(process: Decoder) -> None:
        for text in sound:
            got = await process.decode(upload(text))
            np.testing.assert_array_equal(got, noise(1))
        for text in bad:
            with pytest.raises(Refusal) as caught:
                await process.decode(upload(text))
            assert "base64" in caught.value.message, text

    with_decoder(use)


def test_the_process_has_little_memory_and_can_open_nothing() -> None:
    async def use(process: Decoder) -> None:
        await process.decode(encoded(noise(1)))
        assert process.process is not None
        limits = {
            name: resource.prlimit(process.process.pid, getattr(resource, f"RLIMIT_{name}"))
            for name in ("AS", "NOFILE", "FSIZE", "CORE")
        }
        assert 0 < limits["AS"][0] < 2 << 30
        assert (limits["NOFILE"], limits["FSIZE"], limits["CORE"]) == ((3, 3), (0, 0), (0, 0))

    with_decoder(use)


def test_whatever_a_decoder_raises_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError, RecursionError, struct.error("at 0x7f00deadbeef"), KeyError("/etc"), ZeroDivisionError):

        def raising(*_: object, error: BaseException | type[BaseException] = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("qdebias.image.decoding.decode", raising)
        assert decode_here(encoded(noise(1)), max_pixels=PIXELS) is Reason.DAMAGED
