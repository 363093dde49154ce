"""The way of an image through the service: a place in the queue, its bytes, its pixels, the model."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from qdebias.backends.base import Backend
from qdebias.image import MIN_SIDE, RgbImage
from qdebias.runs.scorer import Explanation, Scorer
from qdebias.service.background import Background
from qdebias.service.batcher import Batcher
from qdebias.service.fetch import Fetcher
from qdebias.service.limits import Budget, Holding, Places, held
from qdebias.service.models import Served, serve_models
from qdebias.service.processes import decode, decoders
from qdebias.service.reading import Form, ParsedRequest, Source, read, read_json
from qdebias.service.refusal import Reason, Refusal, busy
from qdebias.service.settings import Settings
from qdebias.service.telemetry import Metrics, log

Answer = TypeVar("Answer")
Load = Callable[[], Mapping[str, Backend]]
"""Loads the models, by the names under which they are served."""

BEAT_SECONDS = 0.5
"""How often the event loop says that it works."""

STUCK_SECONDS = 30.0
"""After so long without a word of it the process is given up by /healthz of `--health-port`."""

USUAL_SECONDS = 0.5
"""Guess of the seconds an image takes, before one was scored."""


class Service:
    """Everything that requests share."""

    def __init__(self, load: Load, settings: Settings, *, fetcher: Fetcher | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.places = Places(settings.queue)
        self.background_places = Places(settings.queue)
        self.memory = Places(settings.held_bytes)
        self.pixels = Budget(settings.held_pixels)
        self.batcher = Batcher(batch=settings.batch, observe=self.metrics.batch)
        self.decoders = decoders(settings)
        self.background = Background(seconds=settings.deadline)
        self.served: Served | None = None
        self.stopping = False
        self.failure: Exception | None = None
        self.beat = time.monotonic()
        self._load = load
        self._loading: asyncio.Task[None] | None = None
        self._fetcher = (fetcher or Fetcher(most=settings.image_bytes)) if settings.urls else None
        self.metrics.watch("qdebias_queue_images", "Images under way.", lambda: self.places.taken)
        self.metrics.watch("qdebias_waiting_images", "Images that wait for the model.", lambda: self.batcher.waiting)
        self.metrics.watch("qdebias_held_bytes", "Bytes of uploads in memory.", lambda: self.memory.taken)
        self.metrics.watch("qdebias_held_pixels", "Decoded pixels in memory.", lambda: self.pixels.out)

    @asynccontextmanager
    async def running(self, *, on_failure: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Load the models in the background and work until the context ends."""
        self.batcher.start()
        self.decoders.start()
        self.background.pool.start()
        self._loading = asyncio.get_running_loop().create_task(self._become_ready(on_failure))
        beating = asyncio.get_running_loop().create_task(self._keep_beating())
        try:
            yield
        finally:
            for task in (self._loading, beating):
                task.cancel()
            await asyncio.gather(self._loading, beating, return_exceptions=True)
            await self.batcher.stop()
            await self.decoders.stop()
            await self.background.pool.stop()

    async def _become_ready(self, on_failure: Callable[[], None]) -> None:
        def load() -> None:
            self.served = serve_models(self._load(), self.settings)

        try:
            await self.batcher.run(load)
            log.info("ready")
        except Exception as error:  # noqa: BLE001 (kept, and raised by whoever runs the service)
            self.failure = error
            on_failure()

    async def _keep_beating(self) -> None:
        while True:
            self.beat = time.monotonic()
            self.decoders.revive()
            await asyncio.sleep(BEAT_SECONDS)

    @property
    def stuck(self) -> bool:
        """Whether the event loop has done nothing for long; asked from another thread."""
        return time.monotonic() - self.beat > STUCK_SECONDS

    async def loaded(self) -> None:
        """Wait, while the service is running, until the models are loaded.

        Raises:
            Exception: They cannot be loaded; QdebiasError where the cause is known.
        """
        if self._loading is not None:
            await self._loading
        if self.failure is not None:
            raise self.failure

    @property
    def status(self) -> Literal["ok", "loading", "no_decoder", "stopping"]:
        """Whether images can be scored."""
        if self.stopping:
            return "stopping"
        if self.served is None:
            return "loading"
        return "ok" if self.decoders.able else "no_decoder"

    def ready(self) -> Served:
        """Return what is served."""
        if self.served is None or self.stopping:
            raise Refusal(Reason.NOT_READY, headers={"retry-after": "5"})
        return self.served

    async def answer(
        self, request: Request, form: Form, work: Callable[["Job"], Coroutine[Any, Any, Answer]]
    ) -> Answer:
        """Answer one request about images, as long as its client waits."""
        served = self.ready()
        with held(self.places) as places, held(self.memory) as memory:
            if self._wait_is_too_long() or not places.take(1):
                raise busy(self._wait())
            with client_leaving():
                parsed = await read(request, form, memory)
            if not places.take(len(parsed.images) - 1):
                raise busy(self._wait())
            return await while_there(request, work(Job(self, served, parsed, memory)))

    async def run_in_background(
        self, request: Request, work: Callable[[bytes], Answer], *, most: int, values: int
    ) -> Answer:
        """Answer one request whose body holds no image, as long as its client waits."""
        with held(self.background_places) as places, held(self.memory) as memory:
            if not places.take(1):
                raise busy(1)
            with client_leaving():
                body = await read_json(request, most, values, memory)
            return await while_there(request, self.background.run(work, bytes(body.rest)))

    async def explain(self, image: RgbImage, scorer: Scorer) -> Explanation:
        """Return the score of decoded pixels with how it came about."""
        try:
            result = await self.batcher.submit(scorer, image)
        except Exception as error:
            log.error("model failed", error=type(error).__name__, text=str(error))
            raise Refusal(Reason.MODEL_FAILED) from error
        if not isinstance(result, Explanation):
            raise Refusal(Reason.NOT_SCORED)
        return result

    @asynccontextmanager
    async def decoded(self, source: Source, memory: Holding, *, lossy: bool = True) -> AsyncIterator[RgbImage]:
        """Decode an image, and hold its pixels as long as the context lasts."""
        if isinstance(source, np.ndarray):
            image = self._sound(source)
            await self.pixels.acquire(image.size // 3)
        else:
            data = await self._bytes(source, memory)
            async with self.decoders.one() as decoder:
                image = await decode(decoder, data, lossy=lossy)
                await self.pixels.acquire(image.size // 3)  # with the decoder in hand: no more images than fit
        try:
            yield image
        finally:
            self.pixels.release(image.size // 3)

    def _sound(self, pixels: RgbImage) -> RgbImage:
        if min(pixels.shape[:2]) < MIN_SIDE:
            raise Refusal(Reason.TOO_SMALL)
        if pixels.size // 3 > self.settings.pixels:
            raise Refusal(Reason.TOO_MANY_PIXELS)
        return pixels

    async def _bytes(
        self, source: bytearray | memoryview | str | Refusal, memory: Holding
    ) -> bytes | bytearray | memoryview:
        if isinstance(source, Refusal):
            raise source
        if not isinstance(source, str):
            return source
        if self._fetcher is None:
            raise Refusal(Reason.NO_URLS)
        if not memory.take(self.settings.image_bytes):
            raise busy(self._wait())
        return await self._fetcher.fetch(source)

    def _wait(self) -> float:
        """Return about how many seconds the images under way will take."""
        return self.places.taken * (self.batcher.seconds_an_image or USUAL_SECONDS)

    def _wait_is_too_long(self) -> bool:
        """Say whether an image that comes now could miss its deadline, should the model be half as fast meanwhile."""
        measured = self.batcher.seconds_an_image > 0
        return measured and self.places.taken > self.settings.batch and self._wait() > self.settings.deadline / 2


class Job:
    """What one request asks of the service."""

    def __init__(self, service: Service, served: Served, parsed: ParsedRequest, memory: Holding) -> None:
        self.sources = parsed.images
        self.lossy = parsed.lossy
        self.model = parsed.model or served.model
        self.method = parsed.method or served.method
        self.seed = service.settings.seed
        self._service, self._served, self._memory = service, served, memory
        served.scorer(self.model, self.method)

    @property
    def fingerprint(self) -> str:
        """See `Served.fingerprint`."""
        return self._served.fingerprint(self.model)

    async def explain(self, image: RgbImage, method: str) -> Explanation:
        """Return the score of decoded pixels; see `Service.explain`."""
        return await self._service.explain(image, self._served.scorer(self.model, method))

    @asynccontextmanager
    async def decoded(self, source: Source) -> AsyncIterator[RgbImage]:
        """Decode one of the sources and count what becomes of it; see `Service.decoded`."""
        images = self._service.metrics.images
        try:
            async with self._service.decoded(source, self._memory, lossy=self.lossy) as image:
                yield image
        except Refusal as refusal:
            images.labels(refusal.reason.code).inc()
            raise
        images.labels("scored").inc()


@contextmanager
def client_leaving() -> Iterator[None]:
    """Refuse a request whose client leaves before its body has arrived."""
    try:
        yield
    except ClientDisconnect as error:
        raise Refusal(Reason.CLIENT_LEFT) from error


async def while_there(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Do the work, unless the client leaves before it is done."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refusal(Reason.CLIENT_LEFT)
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _departure(request: Request) -> None:
    """Return when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
