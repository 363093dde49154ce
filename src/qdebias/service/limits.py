"""Settings of a server, with safe defaults, and the limits on the work in progress."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, fields

from qdebias.errors import SettingError
from qdebias.image import MAX_PIXELS

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and defaults of one server."""

    method: str = "paper"  # of requests that name none
    seed: int = 0  # of the random degradations, for every request
    batch: int = 8  # images that go to the model at a time
    queue: int = 64  # images in progress; beyond that requests are refused (429)
    deadline: float = 30.0  # seconds from the first byte of a request to its answer
    drain: float = 30.0  # seconds for requests in progress to finish when the server is stopped
    images: int = 16  # most images in a request
    image_bytes: int = 20 * MEBIBYTE  # largest encoded image
    held_bytes: int = 256 * MEBIBYTE  # most bytes of uploads in memory, over all requests
    pixels: int = MAX_PIXELS  # largest width x height; larger images are refused by their header
    held_pixels: int = 100_000_000  # most decoded pixels in memory, over all requests; a larger image is held alone
    decoders: int = 2  # processes that decode images
    decode_seconds: float = 10.0  # time limit for decoding an image, after which the decoder is killed
    urls: bool = False  # whether images may be given by URL, which the server then fetches

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0 and field.name not in ("seed", "urls"):
                raise SettingError(f"{field.name} of the service must be above 0, got {value}")
        if self.seed < 0:
            raise SettingError(f"the seed must be 0 or more, got {self.seed}")
        if self.images > self.queue:
            raise SettingError(
                f"a request of {self.images} images could never enter a queue of {self.queue}; "
                f"make the queue longer or allow fewer images a request"
            )

    @property
    def body_bytes(self) -> int:
        """Largest body of a request with one image, and of JSON in any.

        Base64 makes three bytes four, line ends in JSON make it a fifteenth more, and there are fields beside it.
        """
        return self.image_bytes * 10 // 7 + 64 * 1024


class Places:
    """A number of places that are taken at once or not at all."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.taken = 0

    def take(self, amount: int, until: ExitStack) -> bool:
        """Take places until a context ends, if enough are free; return whether they were taken."""
        if self.taken + amount > self._count:
            return False

        def free() -> None:
            self.taken -= amount

        self.taken += amount
        until.callback(free)
        return True


class Budget:
    """An amount to wait for, first come, first served; a request for more than all of it is granted alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self.out = 0

    async def acquire(self, amount: int) -> None:
        """Wait until the amount is free and take it; a cancelled wait takes nothing."""
        async with self._turn:
            while self.out and self.out + amount > self._total:
                self._freed.clear()
                await self._freed.wait()
            self.out += amount

    def release(self, amount: int) -> None:
        """Give an amount back."""
        self.out -= amount
        self._freed.set()
