"""The models of a server, and the path of a request: a place in the queue, its bytes, its pixels, the model."""

import asyncio
import gc
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Literal, TypeVar

import numpy as np
from starlette.requests import Request

from qdebias.backends.base import Backend
from qdebias.backends.load import split_arguments
from qdebias.errors import BackendError, MissingPackageError, SettingError
from qdebias.image import MIN_SIDE, RgbImage
from qdebias.methods import presets
from qdebias.methods.plan import Context, Failure
from qdebias.runs.options import Options
from qdebias.runs.scorer import Explanation, Scorer
from qdebias.service.background import Background
from qdebias.service.batcher import Batcher
from qdebias.service.buffers import Upload, freeing_arrays
from qdebias.service.fetch import Fetcher
from qdebias.service.guard import Metrics, log
from qdebias.service.limits import Budget, Places, Settings
from qdebias.service.processes import Decoder, Pool
from qdebias.service.reading import Form, ParsedRequest, Source, Take, read, read_json
from qdebias.service.refusal import Reason, Refusal, busy

Answer = TypeVar("Answer")

BEAT_SECONDS = 0.5  # interval of the event loop's heartbeat
STUCK_SECONDS = 30.0  # without a heartbeat, after which /healthz on the health port fails
USUAL_SECONDS = 0.5  # assumed time per image before one was scored
EMBEDDED = ("nano", "nano-biased")
"""Models that gain nothing from larger batches: they get one image at a time, so that scores are always the same."""

_SOUND_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """The models and methods of a server."""

    scorers: Mapping[str, Mapping[str, Scorer]]  # by the names of model and method; the first model is the default
    method: str  # name of the default method

    @property
    def model(self) -> str:
        """Name of the default model."""
        return next(iter(self.scorers))

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods of the default model; another model may not return enough for some of them."""
        return tuple(self.scorers[self.model])

    def scorer(self, model: str, method: str) -> Scorer:
        """Return the scorer of a model and a method."""
        if model not in self.scorers:
            raise Refusal(Reason.NO_MODEL)
        if method not in self.scorers[model]:
            raise Refusal(Reason.NO_METHOD)
        return self.scorers[model][method]

    def fingerprint(self, model: str) -> str:
        """Return 16 hex digits that change with the identity of a model's backend."""
        identity = self.scorers[model][self.method].backend.fingerprint.identity
        return blake2b(json.dumps(dict(identity), sort_keys=True).encode(), digest_size=8).hexdigest()


def serve_models(backends: Mapping[str, Backend], settings: Settings) -> Served:
    """Return scorers of every model with every method that needs nothing but the image.

    Methods that need more (a pool of other images, a package that is not installed) are left out. Each model scores a
    grey image with the default method, so that one that cannot answer fails before the first request.
    """
    grey = np.full((2 * MIN_SIDE, 2 * MIN_SIDE, 3), 128, dtype=np.uint8)
    methods = []
    for name in dict.fromkeys((*presets.RECIPES, settings.method)):  # the default may be an expression
        method = presets.get(name).method
        with suppress(SettingError, MissingPackageError):
            method.plan(grey, Context())
            methods.append(name)
    if settings.method not in methods:
        raise SettingError(f"method {settings.method!r} needs more than one image; serve one of {', '.join(methods)}")
    scorers: dict[str, dict[str, Scorer]] = {name: {} for name in backends}
    for model, backend in backends.items():
        batch = 1 if backend.fingerprint.identity.get("model") in EMBEDDED else settings.batch
        scorer = partial(Scorer, backend=backend, seed=settings.seed, batch=batch, max_pixels=settings.pixels)
        for name in methods:
            try:
                scorers[model][name] = scorer(method=name)
            except BackendError:  # the method needs more than the model returns
                if name == settings.method:
                    raise
        scorers[model][settings.method].score(grey)
    return Served(scorers=scorers, method=settings.method)


def specs_by_name(specs: Sequence[str]) -> dict[str, str]:
    """Return backends as `load_backend` takes them, by name, from specs <name>=<backend> or <backend>.

    The default name is the last part of the backend, so that answers reveal neither folders nor servers.
    """
    names: list[str] = []
    backends: list[str] = []
    for spec in specs:
        name, equals, backend = spec.partition("=")
        if not (equals and _SOUND_NAME.fullmatch(name)):
            last = PurePath(split_arguments(spec)[0].rpartition("#")[2]).name
            name, backend = last.rpartition(":")[2] or last, spec
        names.append(name)
        backends.append(backend)
    if not names or len(set(names)) != len(names):
        raise SettingError(
            f"the server needs models of different names, got {', '.join(names) or 'none'}; "
            f"name them with --model NAME=MODEL"
        )
    return dict(zip(names, backends, strict=True))


def loader(specs: Mapping[str, str], options: Options, settings: Settings) -> Callable[[], Served]:
    """Return a function that loads the models of `specs_by_name`, for a process that only serves."""

    def load() -> Served:
        served = serve_models({name: options.backend(spec) for name, spec in specs.items()}, settings)
        gc.collect()
        gc.freeze()  # a full collection over all modules would take a tenth of a second
        return served

    return load


class Service:
    """The state that requests share; `load` loads the models, in the thread that runs them."""

    def __init__(self, load: Callable[[], Served], settings: Settings, *, fetcher: Fetcher | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.places = Places(settings.queue)
        self.background_places = Places(settings.queue)
        self.memory = Places(settings.held_bytes)
        self.pixels = Budget(settings.held_pixels)
        self.batcher = Batcher(batch=settings.batch, observe=self.metrics.batch)
        self.decoders = Pool([Decoder(settings) for _ in range(settings.decoders)])
        self.background = Background(seconds=settings.deadline)
        self.served: Served | None = None
        self.stopping = False
        self.failure: Exception | None = None  # why the models cannot be loaded
        self.on_failure: Callable[[], None] = lambda: None
        self.beat = time.monotonic()
        self._load = load
        self._loading: asyncio.Task[None] | None = None
        self.fetcher = (fetcher or Fetcher(most=settings.image_bytes)) if settings.urls else None
        self.metrics.watch("qdebias_queue_images", "Images in progress.", lambda: self.places.taken)
        self.metrics.watch("qdebias_waiting_images", "Images that wait for the model.", lambda: self.batcher.waiting)
        self.metrics.watch("qdebias_held_bytes", "Bytes of uploads in memory.", lambda: self.memory.taken)
        self.metrics.watch("qdebias_held_pixels", "Decoded pixels in memory.", lambda: self.pixels.out)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the models in the background and serve until the context ends."""
        parts = (self.batcher, self.decoders, self.background)
        for part in parts:
            part.start()
        self._loading = asyncio.create_task(self._become_ready())
        beating = asyncio.create_task(self._keep_beating())
        try:
            with freeing_arrays():
                yield
        finally:
            for task in (self._loading, beating):
                task.cancel()
            await asyncio.gather(self._loading, beating, return_exceptions=True)
            for part in parts:
                await part.stop()

    async def _become_ready(self) -> None:
        def load() -> None:
            self.served = self._load()

        try:
            await self.batcher.run(load)
            log.info("ready")
        except Exception as error:  # noqa: BLE001 (raised by `run` or `loaded`)
            self.failure = error
            self.on_failure()

    async def _keep_beating(self) -> None:
        while True:
            self.beat = time.monotonic()
            self.decoders.revive()
            await asyncio.sleep(BEAT_SECONDS)

    @property
    def stuck(self) -> bool:
        """Whether the event loop has been blocked for long; called from another thread."""
        return time.monotonic() - self.beat > STUCK_SECONDS

    async def loaded(self) -> None:
        """Wait until the models of a running service are loaded; raises the error if they cannot be."""
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
        """Return the models and methods; refuses while there are none."""
        if self.served is None or self.stopping:
            raise Refusal(Reason.NOT_READY, headers={"retry-after": "5"})
        return self.served

    async def answer(
        self, request: Request, form: Form, work: Callable[["Job"], Coroutine[Any, Any, Answer]]
    ) -> Answer:
        """Answer a request with images, unless its client leaves."""
        served = self.ready()
        wait, measured = self.wait(), self.batcher.seconds_an_image > 0
        # a new image would miss its deadline if the model became half as fast
        late = measured and self.places.taken > self.settings.batch and wait > self.settings.deadline / 2
        with ExitStack() as held:
            if late or not self.places.take(1, held):
                raise busy(wait)
            take = partial(self.memory.take, until=held)
            parsed = await read(request, form, take)
            if not self.places.take(len(parsed.images) - 1, held):
                raise busy(self.wait())
            return await while_there(request, work(Job(self, served, parsed, take)))

    async def run_in_background(
        self, request: Request, work: Callable[[bytes], Answer], *, most: int, values: int
    ) -> Answer:
        """Answer a request with numbers, unless its client leaves."""
        with ExitStack() as held:
            if not self.background_places.take(1, held):
                raise busy(1)
            body = await read_json(request, most, values, partial(self.memory.take, until=held))
            return await while_there(request, self.background.run(work, bytes(body.rest)))

    def wait(self) -> float:
        """Return about how many seconds the images in progress will take."""
        return self.places.taken * (self.batcher.seconds_an_image or USUAL_SECONDS)


class Job:
    """A request with images; refuses an unknown model or method."""

    def __init__(self, service: Service, served: Served, parsed: ParsedRequest, take: Take) -> None:
        self._service, self.served, self._parsed, self._take = service, served, parsed, take
        self.sources, self.seed = parsed.images, service.settings.seed
        self.model, self.method = parsed.model or served.model, parsed.method or served.method
        served.scorer(self.model, self.method)

    async def score(self, image: RgbImage, method: str, make: Callable[[Explanation], Answer]) -> Answer:
        """Score an image and return `make` of the explanation, which runs in the model's thread."""
        try:
            result = await self._service.batcher.submit(self.served.scorer(self.model, method), image, make)
        except Exception as error:
            log.error("model failed", error=type(error).__name__, text=str(error))
            raise Refusal(Reason.MODEL_FAILED) from error
        if isinstance(result, Failure):
            raise Refusal(Reason.NOT_SCORED)
        return result

    @asynccontextmanager
    async def decoded(self, source: Source) -> AsyncIterator[RgbImage]:
        """Decode an image, hold its pixels until the context ends, and count the outcome."""
        images, pixels = self._service.metrics.images, self._service.pixels
        try:
            if isinstance(source, np.ndarray):
                image = source
                if min(image.shape[:2]) < MIN_SIDE:
                    raise Refusal(Reason.TOO_SMALL)
                if image.size // 3 > self._service.settings.pixels:
                    raise Refusal(Reason.TOO_MANY_PIXELS)
                await pixels.acquire(image.size // 3)
            else:
                file = await self._file(source)
                async with self._service.decoders.idle() as decoder:
                    image = await decoder.decode(file, lossy=self._parsed.lossy)
                    await pixels.acquire(image.size // 3)  # holding the decoder, so that it decodes no more than fit
            try:
                yield image
            finally:
                pixels.release(image.size // 3)
        except Refusal as refusal:
            images.labels(refusal.reason.code).inc()
            raise
        images.labels("scored").inc()

    async def _file(self, source: Upload | memoryview | str | Refusal) -> bytes | memoryview | Upload:
        if isinstance(source, Refusal):
            raise source
        if not isinstance(source, str):
            return source
        if self._service.fetcher is None:
            raise Refusal(Reason.NO_URLS)
        if not self._take(self._service.settings.image_bytes):
            raise busy(self._service.wait())
        return await self._service.fetcher.fetch(source)


async def while_there(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run some work; cancel it if the client leaves."""

    async def departure() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(departure())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refusal(Reason.CLIENT_LEFT)
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
