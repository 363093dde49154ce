"""A few decoder processes, each killed and replaced when it hangs or dies."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from qdebias.image import RgbImage
from qdebias.service.decoder import LENGTH, SIZE, Verdict
from qdebias.service.refusal import Reason, Refusal

IMAGES_A_PROCESS = 2000
"""After so many images a decoder is replaced, whatever it may have leaked."""

_REASONS = {
    Verdict.NO_IMAGE: Reason.NO_IMAGE,
    Verdict.TOO_MANY_PIXELS: Reason.TOO_MANY_PIXELS,
    Verdict.TOO_SMALL: Reason.TOO_SMALL,
    Verdict.SEVERAL_FRAMES: Reason.SEVERAL_FRAMES,
    Verdict.PIXEL_TYPE: Reason.PIXEL_TYPE,
    Verdict.DAMAGED: Reason.DAMAGED,
}


class Decoder:
    """One process, started when it is first needed.

    Args:
        max_pixels: Largest width x height that it decodes.
        seconds: After this long it is killed.

    Attributes:
        process: The process, while there is one.
        seconds: See above.
    """

    def __init__(self, *, max_pixels: int, seconds: float) -> None:
        self._max_pixels = max_pixels
        self.seconds = seconds
        self.process: asyncio.subprocess.Process | None = None
        self._count = 0

    async def start(self) -> None:
        """Start the process, unless there is one."""
        if self.process is not None and self.process.returncode is None and self._count < IMAGES_A_PROCESS:
            return
        await self.stop()
        self._count = 0
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "qdebias.service.decoder",
            str(self._max_pixels),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # a Ctrl-C at the server's terminal is not for it
        )

    async def decode(self, data: bytes) -> RgbImage:
        """Return the pixels of an encoded image.

        Raises:
            Refusal: It is no image that can be scored, or took too much time or memory.
        """
        await self.start()
        self._count += 1
        finished = False
        try:
            async with asyncio.timeout(self.seconds):
                image = await self._exchange(data)
            finished = True
            return image
        except Refusal:
            finished = True
            raise
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise Refusal(Reason.DECODING_TOOK_TOO_LONG) from error
        finally:
            if not finished:  # it hangs, died, or the client left in the midst of an answer
                await self.stop()

    async def stop(self) -> None:
        """Kill the process."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await asyncio.shield(process.wait())

    async def _exchange(self, data: bytes) -> RgbImage:
        process = self.process
        if process is None or process.stdin is None or process.stdout is None:
            raise BrokenPipeError
        process.stdin.write(LENGTH.pack(len(data)))
        process.stdin.write(data)
        await process.stdin.drain()
        verdict = Verdict((await process.stdout.readexactly(1))[0])
        if verdict is not Verdict.PIXELS:
            raise Refusal(_REASONS[verdict])
        height, width = SIZE.unpack(await process.stdout.readexactly(SIZE.size))
        pixels = await process.stdout.readexactly(height * width * 3)
        return np.frombuffer(pixels, dtype=np.uint8).reshape(height, width, 3)


class Decoders:
    """Several decoders, each used by one image at a time.

    Args:
        count: How many.
        max_pixels: See `Decoder`.
        seconds: See `Decoder`.
    """

    def __init__(self, count: int, *, max_pixels: int, seconds: float) -> None:
        self._all = [Decoder(max_pixels=max_pixels, seconds=seconds) for _ in range(count)]
        self._idle: asyncio.Queue[Decoder] = asyncio.Queue()
        for decoder in self._all:
            self._idle.put_nowait(decoder)

    async def start(self) -> None:
        """Start every process, so that the first request need not wait."""
        await asyncio.gather(*(decoder.start() for decoder in self._all))

    async def stop(self) -> None:
        """Kill every process."""
        await asyncio.gather(*(decoder.stop() for decoder in self._all))

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Decoder]:
        """Wait for an idle decoder and have it for oneself."""
        decoder = await self._idle.get()
        try:
            yield decoder
        finally:
            self._idle.put_nowait(decoder)
