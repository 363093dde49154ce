"""A few decoder processes, each killed and replaced when it hangs or dies."""

import asyncio
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from qdebias.image import RgbImage
from qdebias.processes import module_command, module_path
from qdebias.service.decoder import LENGTH, SIZE, Verdict
from qdebias.service.refusal import Reason, Refusal

IMAGES_A_PROCESS = 2000
"""After so many images a process is replaced, whatever it may have leaked."""

_SYSTEM = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
"""What Python needs of the environment to start on Windows."""

_REASONS = {
    Verdict.NO_IMAGE: Reason.NO_IMAGE,
    Verdict.TOO_MANY_PIXELS: Reason.TOO_MANY_PIXELS,
    Verdict.TOO_SMALL: Reason.TOO_SMALL,
    Verdict.SEVERAL_FRAMES: Reason.SEVERAL_FRAMES,
    Verdict.PIXEL_TYPE: Reason.PIXEL_TYPE,
    Verdict.DAMAGED: Reason.DAMAGED,
}


class Decoder:
    """One process, started when it is first needed; after many images the next one takes over when it is ready.

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
        self.process: Process | None = None
        self._next: asyncio.Task[Process] | None = None
        self._count = 0

    async def start(self) -> None:
        """Start the process, unless there is one; let the next one take over where that is due."""
        if self.process is None or self.process.returncode is not None:
            await self._kill()
            self.process, self._count = await self._started(), 0
        elif self._count >= IMAGES_A_PROCESS:
            await self._hand_over()

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
                image = await _exchange(self.process, data)
            finished = True
            return image
        except Refusal:
            finished = True
            raise
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise Refusal(Reason.DECODING_TOOK_TOO_LONG) from error
        finally:
            if not finished:  # it hangs, died, or the client left in the midst of an answer
                await self._kill()

    async def stop(self) -> None:
        """Kill the process, and the one that is to follow it."""
        following, self._next = self._next, None
        if following is not None:
            following.cancel()
            for found in await asyncio.gather(following, return_exceptions=True):
                await _end(None if isinstance(found, BaseException) else found)
        await self._kill()

    async def _kill(self) -> None:
        process, self.process = self.process, None
        await _end(process)

    async def _hand_over(self) -> None:
        """Begin the next process; when it is ready, end this one and take that. No image waits for it."""
        if self._next is None:
            self._next = asyncio.create_task(self._ready())
        elif self._next.done():
            following, self._next = self._next, None
            if following.exception() is None:
                await self._kill()
                self.process, self._count = following.result(), 0

    async def _started(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *module_command("qdebias.service.decoder", str(self._max_pixels)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**_SYSTEM, "PYTHONPATH": module_path(), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # a Ctrl-C at the server's terminal is not for it
        )

    async def _ready(self) -> Process:
        """Return a process that has answered once, so that it need not be waited for any more."""
        process = await self._started()
        answered = False
        try:
            await _exchange(process, b"")
        except Refusal:
            answered = True
        finally:
            if not answered:
                await _end(process)
        return process


async def _exchange(process: Process | None, data: bytes) -> RgbImage:
    """Have a process decode an image.

    Raises:
        Refusal: It is none that can be scored.
    """
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


async def _end(process: Process | None) -> None:
    """Kill a process, if there is one, and wait until it is gone."""
    if process is None:
        return
    if process.returncode is None:
        process.kill()
    await asyncio.shield(process.wait())


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
