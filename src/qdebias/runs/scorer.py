"""From images to scores: load and plan in threads, ask in batches, combine; batch size and order change no score."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from os import PathLike
from typing import Literal, NamedTuple, cast, overload

import numpy as np
import PIL.Image

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.backends.load import load_backend
from qdebias.errors import BackendError, ImageError, SettingError
from qdebias.image import (
    IDENTITY,
    MAX_PIXELS,
    MIN_SIDE,
    EncodedImage,
    ImageSource,
    RgbImage,
    digest,
    downsized,
    is_tensor,
    load_image,
)
from qdebias.image.notebook import strip
from qdebias.inputs import open_images
from qdebias.inputs.addresses import is_address
from qdebias.inputs.images import names_one
from qdebias.inputs.items import image_named
from qdebias.methods import presets
from qdebias.methods.outline import QUERY, outline_of
from qdebias.methods.plan import Context, Failure, Method, OfOneModel, Plan, Pool, Score
from qdebias.methods.recipe import Recipe
from qdebias.prompts import Request
from qdebias.system.processes import refuse_after_fork

PIXELS_READY = 50_000_000
"""Most pixels of the images that lie ready, and of a batch; with four degraded copies each, both are 0.75 GB."""

BYTES_READY = 200_000_000
"""Most bytes of encoded images that are drawn ahead; files count nothing, as they are read when they are decoded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """A score together with the pictures that it came from."""

    name: str  # the path or other name of the image, or "image 3" for the third of a list that came as pixels
    image: RgbImage
    plan: Plan
    score: Score

    def __repr__(self) -> str:
        return f"Explanation({self.score!r}, {self.plan!r})"

    def _repr_html_(self) -> str:
        copies = zip(self.plan.conditions, self.score.good.tolist(), strict=False)
        shown = ((one.image, f"{one.kind}: good {good:.3f}") for one, good in copies)
        return strip([(self.image, f"score {self.score.value:.4f}"), *shown])


class _Prepared(NamedTuple):
    name: str
    image: RgbImage
    plan: Plan


class Scorer:
    """Scores images with one backend and one method.

    Args:
        backend: The model, or what `qdebias.load_backend` takes, such as "nano".
        method: What `qdebias.presets.get` takes: a name, a recipe, or any object that fits `Method`.
        seed: Seed of the random degradations; the same image and seed give the same score.
        batch: How many images are handed to the backend at a time.
        threads: How many threads load and degrade images ahead of the model.
        max_pixels: Larger images are refused before they are decoded.
        pool: Other images, for a method that needs some, such as `mismatched`.
        max_side: Larger images are first made smaller, so that their longer side has this many pixels; None: never. It
            changes scores, and is part of the fingerprint; the noise of the degradations stays that of the original.

    Raises:
        SettingError: A setting is out of range, or there is no such preset.
    """

    def __init__(
        self,
        *,
        backend: str | Backend,
        method: str | Method | Recipe = "paper",
        seed: int = 0,
        batch: int = 8,
        threads: int = 2,
        max_pixels: int = MAX_PIXELS,
        pool: Pool | None = None,
        max_side: int | None = None,
    ) -> None:
        numbers = {"batch": batch, "threads": threads, "max_pixels": max_pixels, "seed": seed}
        for name, number in numbers.items():
            if not isinstance(number, int | np.integer):
                raise SettingError(f"{name} is an integer, got {number!r}")
        if min(batch, threads, max_pixels) < 1 or seed < 0:
            got = ", ".join(f"{name}={number}" for name, number in numbers.items())
            raise SettingError(f"batch, threads and max_pixels must be 1 or more and seed 0 or more, got {got}")
        if max_side is not None and max_side < MIN_SIDE:
            raise SettingError(f"max_side must be {MIN_SIDE} or more, got {max_side}")
        if max_side is not None and pool is not None and getattr(pool, "max_side", None) != max_side:
            raise SettingError("images of a pool are taken as they are; leave out max_side or the pool")
        backend = load_backend(backend) if isinstance(backend, str) else backend
        if not hasattr(backend, "option_logits"):
            raise SettingError(
                f"{backend!r} is not a model; give its name, such as 'nano', or what load_backend returns"
            )
        self.recipe = presets.get(method)
        self.method = self.recipe.method
        self.backend = self.recipe.fit(backend) if isinstance(method, str | Recipe) else backend
        self.context = Context(seed=seed, pool=pool)
        self.batch, self.threads = batch, threads
        self.max_pixels, self.max_side = max_pixels, max_side
        if isinstance(self.method, OfOneModel):
            self.method.check(self.fingerprint.identity)

    @property
    def fingerprint(self) -> Fingerprint:
        """What makes the answers: the backend's own, and how large images may be where that is limited."""
        return limited(self.backend.fingerprint, self.max_side)

    def score(self, image: ImageSource) -> Score:
        """Return the score of one image.

        Raises:
            ImageError: It cannot be scored.
            BackendError: The model cannot answer.
        """
        return self.explain(image).score

    def explain(self, image: ImageSource) -> Explanation:
        """Return the score of one image with its conditional images and questions; raises as `score` does."""
        return self._ask([self._plan(load_image(image, max_pixels=self.max_pixels), "image")])[0]

    def score_frames(self, frames: Sequence[ImageSource]) -> Score:
        """Return one score of several images that are shown together in one prompt: frames of a video, in order.

        Raises:
            SettingError: The method asks about anything but the images themselves.
            ImageError: One of them cannot be read, or together they are too many for the model.
            BackendError: The model cannot answer.
        """
        outline = outline_of(self.method)
        if outline is None or [asked.images for asked in outline.requests] != [(QUERY,)]:
            raise SettingError("frames are scored by a method without conditions, such as qrealign-video")
        images = [load_image(frame, max_pixels=self.max_pixels) for frame in frames]
        if self.max_side is not None:
            images = [downsized(image, self.max_side, name="a frame") for image in images]
        (asked,) = outline.requests
        request = Request(images=tuple(images), questions=asked.questions, placement=asked.placement)
        return self._ask([_Prepared("frames", images[0], Plan(requests=(request,)))])[0].score

    def score_many(
        self, images: Iterable[ImageSource], *, on_error: Literal["raise", "return"] = "raise"
    ) -> Iterator[Score | Failure]:
        """Yield one result an image, in order, as the batches are answered.

        The images are drawn from the iterable only a little ahead of the model, so it may be endless.

        Args:
            images: Paths or images in memory.
            on_error: "raise" stops at the first image that cannot be scored; "return" puts a `Failure` in its place
                and goes on.

        Raises:
            ImageError: An image cannot be scored, with `on_error="raise"`.
            BackendError: The model cannot answer; no other image would fare better.
        """
        for result in self.explain_many(images, on_error=on_error):
            yield result.score if isinstance(result, Explanation) else result

    def score_named(self, images: Iterable[ImageSource]) -> Iterator[tuple[str, Score | Failure]]:
        """Yield the name and the result of each image, in order, a `Failure` for one that cannot be scored."""
        for result in self.explain_many(images, on_error="return"):
            yield result.name, result.score if isinstance(result, Explanation) else result

    def explain_many(
        self, images: Iterable[ImageSource], *, on_error: Literal["raise", "return"] = "raise"
    ) -> Generator[Explanation | Failure]:
        """Yield what `score_many` yields, each score together with its image and plan."""
        if on_error not in ("raise", "return"):
            raise SettingError(f"on_error is 'raise' or 'return', got {on_error!r}")
        if isinstance(images, str | PathLike):
            raise SettingError(f"several images are a list of them, got {images!r}; qdebias.score takes a folder")
        batch: list[_Prepared | Failure] = []
        for item in chain(self._prepare_ahead(images), [None]):
            if item is not None:
                batch.append(item)
                pixels = sum(one.image.size // 3 for one in batch if isinstance(one, _Prepared))
                if len(batch) < self.batch and pixels < PIXELS_READY:
                    continue
            prepared = [one for one in batch if isinstance(one, _Prepared)]
            try:
                answered: Iterator[Explanation | Failure] = iter(self._ask(prepared))
            except ImageError as error:
                answered = self._ask_each(prepared, error)
            for one in batch:
                result = one if isinstance(one, Failure) else next(answered)
                if isinstance(result, Failure) and on_error == "raise":
                    raise ImageError(result.error)
                yield result
            batch = []

    def _prepare_ahead(self, images: Iterable[ImageSource]) -> Iterator[_Prepared | Failure]:
        """Load and plan in threads, in order, at most two batches ahead of the consumer, fewer of large images.

        An image is planned as soon as its pixels fit beside those that are ready; one larger than that limit is planned
        alone. Images are admitted in order, so the consumer never waits for an image held up by a later one.
        """
        numbered, pending = enumerate(images, start=1), deque[tuple[int, int, Future[_Prepared | Failure]]]()
        held: dict[int, int] = {}  # pixels of the images that are ready, by their numbers
        changed, admitted, closed = threading.Condition(), 0, False

        def fits(pixels: int) -> bool:
            return not any(held.values()) or sum(held.values()) + pixels <= PIXELS_READY

        def admit(number: int, pixels: int) -> None:
            nonlocal admitted
            with changed:
                changed.wait_for(lambda: closed or (number == admitted + 1 and fits(pixels)))
                if closed:
                    raise CancelledError
                held[number], admitted = pixels, number
                changed.notify_all()

        ready: _Prepared | Failure | None = None
        with ThreadPoolExecutor(self.threads, thread_name_prefix="qdebias-load") as pool:
            try:
                while True:
                    while len(pending) < 2 * self.batch and sum(size for _, size, _ in pending) < BYTES_READY:
                        number, image = next(numbered, (0, None))
                        if not number:
                            break
                        whole = image.get("bytes") if isinstance(image, Mapping) else getattr(image, "data", image)
                        size = len(whole) if isinstance(whole, bytes) else 0  # before it is decoded
                        pending.append((number, size, pool.submit(self._prepare, image, number, admit)))
                    if ready is not None:
                        yield ready
                    if not pending:
                        return
                    number, _, future = pending.popleft()
                    ready = future.result()
                    with changed:
                        del held[number]
                        changed.notify_all()
            finally:
                with changed:
                    closed = True
                    changed.notify_all()
                pool.shutdown(cancel_futures=True)

    def _prepare(self, source: ImageSource, number: int, admit: Callable[[int, int], None]) -> _Prepared | Failure:
        """Load and plan an image, or say why this is impossible."""
        name, admitted = f"image {number}", False
        if isinstance(source, str | PathLike):
            name = str(source)
        elif isinstance(source, EncodedImage):
            name = source.name
        refuse_after_fork()
        try:
            image = load_image(source, max_pixels=self.max_pixels)
            admit(number, image.size // 3)
            admitted = True
            return self._plan(image, name)
        except ImageError as error:
            reason = str(error)
        except MemoryError:
            reason = f"{name}: needs more memory than is available; see --max-side and max_side"
        if not admitted:
            admit(number, 0)
        return Failure(name=name, error=reason)

    def _plan(self, image: RgbImage, name: str) -> _Prepared:
        if self.max_side is None:
            return _Prepared(name, image, self.method.plan(image, self.context))
        smaller = downsized(image, self.max_side, name=name)
        return _Prepared(name, smaller, self.method.plan(smaller, replace(self.context, original=digest(image))))

    def _ask_each(self, batch: Sequence[_Prepared], refusal: ImageError) -> Iterator[Explanation | Failure]:
        """Ask again one by one, as the backend refused an image: a `Failure` for that, and the others are kept."""
        for prepared in batch:
            try:
                if len(batch) == 1:
                    raise refusal
                yield self._ask([prepared])[0]
            except ImageError as error:
                yield Failure(name=prepared.name, error=f"{prepared.name}: {error}")

    def _ask(self, batch: Sequence[_Prepared]) -> list[Explanation]:
        refuse_after_fork()
        requests = [request for _, _, plan in batch for request in plan.requests]
        answers = iter(finite(self.backend.option_logits(requests)) if requests else [])
        explanations = []
        for name, image, plan in batch:
            score = self.method.combine(plan, list(islice(answers, len(plan.requests))))
            explanations.append(Explanation(name=name, image=image, plan=plan, score=score))
        return explanations


def limited(fingerprint: Fingerprint, max_side: int | None) -> Fingerprint:
    """Return what makes the answers about images of at most `max_side` pixels a side; None: of any."""
    if max_side is None:
        return fingerprint
    return replace(fingerprint, identity={**fingerprint.identity, IDENTITY: str(max_side)})


def finite(answers: OptionLogits) -> OptionLogits:
    """Return the answers of a model if every logit is a finite number; a BackendError otherwise."""
    for logits in (question for request in answers for question in request):
        if not np.isfinite(logits).all():
            raise BackendError(
                f"the model answered with the logits {logits}, which are not stored: no score can be read from them. "
                f"If it runs in float16, load it in bfloat16 or float32"
            )
    return answers


@overload
def score(
    images: Iterable[ImageSource] | ImageSource,
    *,
    model: str | Backend = "nano",
    method: str | Method = "paper",
    seed: int = 0,
    on_error: Literal["raise"] = "raise",
) -> list[Score]: ...


@overload
def score(
    images: Iterable[ImageSource] | ImageSource,
    *,
    model: str | Backend = "nano",
    method: str | Method = "paper",
    seed: int = 0,
    on_error: Literal["return"],
) -> list[Score | Failure]: ...


def score(
    images: Iterable[ImageSource] | ImageSource,
    *,
    model: str | Backend = "nano",
    method: str | Method = "paper",
    seed: int = 0,
    on_error: Literal["raise", "return"] = "raise",
) -> list[Score] | list[Score | Failure]:
    """Return the quality of each image.

    Args:
        images: Paths, addresses, uint8 arrays (H, W, 3), torch tensors (3, H, W) or Pillow images; one is taken as a
            list of one, and a batch (N, 3, H, W) or (N, H, W, 3) as a list of N. A single text may also be a folder, a
            pattern, a list, a table, a shard or an address, as on the command line.
        model: What `qdebias.load_backend` takes ("nano" is embedded in the package and needs no download), or a
            backend that is already loaded.
        method: The name of a preset (`qdebias methods` lists them), an expression such as "paper+levels5+logodds", a
            .toml file, or a method object.
        seed: Seed of the random degradations.
        on_error: "raise" stops at the first image that cannot be scored; "return" puts a `Failure` in its place.

    Returns:
        One result an image, in order; `.value` is the quality in [0, 1], higher is better.

    Raises:
        ImageError: An image cannot be scored, with `on_error="raise"`.
        SettingError: There is no such model or method.
        BackendError: The model cannot be loaded or cannot answer.
    """
    sources: Iterable[ImageSource]
    one = not isinstance(images, Iterable) or isinstance(images, PIL.Image.Image | EncodedImage | bytes | Mapping)
    if is_tensor(images) or isinstance(images, np.ndarray):
        one = getattr(images, "ndim", 0) != 4
    if isinstance(images, str | PathLike):
        sources = [images] if names_one(str(images)) else open_images([str(images)])
    elif one:
        sources = [cast(ImageSource, images)]
    else:
        several = cast(Iterable[ImageSource], images)
        sources = (image_named(each) if isinstance(each, str) and is_address(each) else each for each in several)
    return list(Scorer(backend=model, method=method, seed=seed).score_many(sources, on_error=on_error))
