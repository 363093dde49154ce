"""What surrounds a model: time and memory however long the list is, and the degradations beside their plain form.

The plain form is SciPy and scikit-image, from the published definitions. The tests compare pixels with it. The steps,
their precision and the order of the random draws are those of ImageNet-C (Hendrycks & Dietterich, 2019), so equal
streams must give equal images. Images are (H, W, 3) uint8; parameters have the names and meanings of `qdebias.degrade`.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.degrade import Degradation, Fog, Saturate, Spatter, ZoomBlur, imagenet_c, noise_rng
from qdebias.degrade.base import Rng
from qdebias.image import RgbImage, digest
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer
from qdebias.system.processes import peak_memory, resident_memory


def photo_like(seed: int, width: int, height: int) -> RgbImage:
    """Return smooth colours with detail: neither flat nor pure noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255), dtype=np.uint8)


SIDES = (64, 2000)
"""Shortest and longest side of the files, in pixels."""

_EARLY = 200
_BUSY_IMAGES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One length of list.

    Attributes:
        images: How many were scored.
        milliseconds_per_image: Degrading, asking a backend that answers at once, and combining.
        process_memory_bytes: The most that the process has ever held; it never falls from one length to the next.
    """

    images: int
    milliseconds_per_image: float
    process_memory_bytes: int


def measure_scale(lengths: Sequence[int] = (10, 100, 1000, 10_000), *, side: int = 64) -> Iterator[Scale]:
    """Yield a line for each length of list, as it is measured.

    Args:
        lengths: Ascending, since memory is the most so far.
        side: Images are squares of sides from this to twice this.
    """
    scorer = Scorer(backend=_Timed())
    for length in lengths:
        start = time.perf_counter()
        for _ in scorer.score_many(
            photo_like(seed, side + seed % side, side + seed * 7 % side) for seed in range(length)
        ):
            pass
        spent = time.perf_counter() - start
        yield Scale(images=length, milliseconds_per_image=1000 * spent / length, process_memory_bytes=peak_memory())


@dataclass(slots=True)
class _Timed:
    """Has no preference for any option, or asks a model; counts for how long it ran.

    Attributes:
        model: Answers; None: this one does.
        pause: For how long it sleeps for each image before it answers.
        seconds: For how long it ran.
    """

    model: Backend | None = None
    pause: float = 0.0
    seconds: float = 0.0

    @property
    def fingerprint(self) -> Fingerprint:
        return self.model.fingerprint if self.model else Fingerprint(identity={"backend": "benchmark"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        start = time.perf_counter()
        time.sleep(self.pause * len({id(request.images[-1]) for request in requests}))
        if self.model:
            answers = self.model.option_logits(requests)
        else:
            answers = [[np.zeros(len(question.options)) for question in request.questions] for request in requests]
        self.seconds += time.perf_counter() - start
        return answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """One list of files.

    Attributes:
        model: What answered; "slow" takes half as long again for an image as one thread needs to prepare it.
        images: How many were scored.
        seconds: From the first file to the last score.
        busy: Share of that time in which the model ran.
        early_memory_bytes: What the process held up to image 200, the mean over a hundred images.
        memory_bytes: What it held in the end, likewise.
        most_memory_bytes: The most that it held after any image.
    """

    model: str
    images: int
    seconds: float
    busy: float
    early_memory_bytes: int
    memory_bytes: int
    most_memory_bytes: int


def measure_files(model: Backend | None, name: str, *, images: int = 2000) -> Iterator[Files]:
    """Yield a line for a model, then one for a slow one, which only sleeps.

    Args:
        model: None: one that answers at once.
        name: What it is called.
        images: How many are scored; each of 60 different files comes several times, in random order.
    """
    with TemporaryDirectory(prefix="qdebias-") as folder:
        files = make_files(Path(folder), 60)
        order = np.random.default_rng(0).integers(len(files), size=images)
        paths = [files[place] for place in order]
        yield _measured(_Timed(model), name, paths)
        scorer, start = Scorer(backend=_Timed()), time.perf_counter()
        for path in files:
            scorer.explain(path)
        pause = 1.5 * (time.perf_counter() - start) / len(files)
        yield _measured(_Timed(pause=pause), "slow", paths[:_BUSY_IMAGES])


def make_files(folder: Path, count: int) -> list[Path]:
    """Write made-up photographs, JPEG and PNG in turn, with sides from 64 to 2000 pixels; return their paths."""
    sizes = np.random.default_rng(0).integers(SIDES[0], SIDES[1] + 1, size=(count, 2))
    paths = [folder / f"{number}{'.png' if number % 2 else '.jpg'}" for number in range(count)]
    for number, (path, (width, height)) in enumerate(zip(paths, sizes, strict=True)):
        Image.fromarray(photo_like(number, int(width), int(height))).save(path)
    return paths


def _measured(clocked: _Timed, name: str, paths: Sequence[Path]) -> Files:
    memory = []
    start = time.perf_counter()
    for _ in Scorer(backend=clocked).score_many(paths):
        memory.append(resident_memory())
    seconds = time.perf_counter() - start
    return Files(
        model=name,
        images=len(paths),
        seconds=seconds,
        busy=clocked.seconds / seconds,
        early_memory_bytes=round(statistics.fmean(memory[:_EARLY][-100:])),
        memory_bytes=round(statistics.fmean(memory[-100:])),
        most_memory_bytes=max(memory),
    )


Array = npt.NDArray[Any]


def as_bytes(image: Array) -> RgbImage:
    """Return an image in [0, 1] as bytes: cut off, not rounded, as ImageNet-C does."""
    return np.asarray(np.clip(image, 0, 1) * 255).astype(np.uint8)


def zoom_blur(image: RgbImage, factors: Sequence[float], original_again: bool) -> RgbImage:
    """Return the mean of zoomed copies; `original_again` counts the image once more."""
    x = (image / 255).astype(np.float32)
    height, width, _ = x.shape
    total = x.copy() if original_again else np.zeros_like(x)
    for z in factors:
        rows, columns = int(np.ceil(height / z)), int(np.ceil(width / z))
        top, left = (height - rows) // 2, (width - columns) // 2
        enlarged = ndimage.zoom(x[top : top + rows, left : left + columns], (z, z, 1), order=1)
        total += enlarged[:height, :width]
    return as_bytes(total / (len(factors) + original_again))


def water(
    image: RgbImage, rng: Rng, noise: tuple[float, float], blur: float, threshold: float, strength: float
) -> RgbImage:
    """Return the image behind drops of water; `noise` is its mean and deviation."""
    from skimage.filters import gaussian

    x = image.astype(np.float32) / 255
    liquid = gaussian(rng.normal(*noise, x.shape[:2]), blur)
    liquid[liquid < threshold] = 0
    grey = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(grey, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)[1]
    level = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    level = cv2.filter2D(level, cv2.CV_8U, np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    mask = cv2.cvtColor(grey * cv2.blur(level, (3, 3)).astype(np.float32), cv2.COLOR_GRAY2BGRA)
    mask *= strength / mask.max(axis=(0, 1))
    turquoise = np.concatenate([np.full_like(mask[..., :1], colour / 255) for colour in (175, 238, 238, 255)], axis=2)
    drops = np.clip(cv2.cvtColor(x, cv2.COLOR_BGR2BGRA) + mask * turquoise, 0, 1)
    return as_bytes(cv2.cvtColor(drops, cv2.COLOR_BGRA2BGR))


def saturate(image: RgbImage, gain: float, offset: float) -> RgbImage:
    """Return the image with another saturation."""
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(image / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] * gain + offset, 0, 1)
    return as_bytes(hsv2rgb(hsv))


def plasma(side: int, decay: float, rng: Rng) -> Array:
    """Return a (side, side) fractal by diamond-square on a torus, each step over the whole of a strided grid."""
    field = np.zeros((side, side))
    step, wobble = side, 100.0

    def mean_plus_noise(total: Array) -> Array:
        return np.asarray(total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape))

    while step >= 2:
        half = step // 2
        corners, centres = field[::step, ::step], field[half::step, half::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        centres[:] = mean_plus_noise(pairs + np.roll(pairs, -1, axis=1))
        vertical = centres + np.roll(centres, 1, axis=0)
        field[::step, half::step] = mean_plus_noise(vertical + corners + np.roll(corners, -1, axis=1))
        horizontal = centres + np.roll(centres, 1, axis=1)
        field[half::step, ::step] = mean_plus_noise(horizontal + corners + np.roll(corners, -1, axis=0))
        step, wobble = half, wobble / decay
    field -= field.min()
    return np.asarray(field / field.max())


def fog(image: RgbImage, rng: Rng, density: float, decay: float, rescale: bool) -> RgbImage:
    """Return the image in fog; `rescale` instead of clipping."""
    x = image / 255
    height, width, _ = x.shape
    brightest = x.max()
    x += density * plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]
    return as_bytes(x * brightest / (brightest + density) if rescale else x)


ALL = "all four"

_ZOOM = cast(ZoomBlur, imagenet_c("zoom_blur", 3))
_REFERENCE: Mapping[str, Callable[[RgbImage, Rng], RgbImage]] = {
    "zoom blur": lambda image, _: zoom_blur(image, _ZOOM.factors, original_again=True),
    "spatter": lambda image, rng: water(image, rng, (0.65, 0.3), 2, 0.68, strength=0.5),
    "saturate": lambda image, _: saturate(image, 2.0, 0.0),
    "fog": lambda image, rng: fog(image, rng, 2.5, 1.5, rescale=True),
}
_OURS: Mapping[str, Degradation] = {
    "zoom blur": _ZOOM,
    "spatter": Spatter(),
    "saturate": Saturate(),
    "fog": Fog(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One degradation, as the released code sets it, or all four together.

    Attributes:
        name: Which.
        width: Of the image.
        height: Of the image.
        reference_ms: Processor time of the reference.
        same_draws_ms: Ours with numpy's RandomState, which gives the reference's noise.
        own_draws_ms: Ours with the generator that scoring uses.
        most_apart: Largest difference to the reference with the same draws, in grey levels.
        share_apart: Share of values that are more than one grey level apart.
    """

    name: str
    width: int
    height: int
    reference_ms: float
    same_draws_ms: float
    own_draws_ms: float
    most_apart: int
    share_apart: float

    @property
    def same_draws_speedup(self) -> float:
        """How many times as fast as the reference, with the same draws."""
        return self.reference_ms / self.same_draws_ms

    @property
    def own_draws_speedup(self) -> float:
        """How many times as fast as the reference, with our generator."""
        return self.reference_ms / self.own_draws_ms


def measure_degradations(width: int, height: int, *, repeat: int) -> Iterator[Timing]:
    """Yield a line for each degradation, then one for all four together.

    Args:
        width: Of a made-up photograph.
        height: Of the same.
        repeat: How often the reference is timed; ours three times as often. The median counts.
    """
    image, timings = photo_like(0, width, height), []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for name in _OURS:
            timings.append(_timing(name, image, repeat))
            yield timings[-1]
    finally:
        cv2.setNumThreads(threads)
    yield _together(timings)


def _timing(name: str, image: RgbImage, repeat: int) -> Timing:
    slow, ours, key = _REFERENCE[name], _OURS[name], digest(image)
    got = ours(image, np.random.RandomState(0)).astype(int)  # compiles
    apart = np.abs(got - slow(image, np.random.RandomState(0)))
    return Timing(
        name=name,
        width=image.shape[1],
        height=image.shape[0],
        reference_ms=_milliseconds(lambda: slow(image, np.random.RandomState(0)), repeat),
        same_draws_ms=_milliseconds(lambda: ours(image, np.random.RandomState(0)), 3 * repeat),
        own_draws_ms=_milliseconds(lambda: ours(image, noise_rng(0, key, name)), 3 * repeat),
        most_apart=int(apart.max()),
        share_apart=float((apart > 1).mean()),
    )


def _milliseconds(run: Callable[[], object], repeat: int) -> float:
    """Return the median processor time of a call."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def _together(timings: Sequence[Timing]) -> Timing:
    return Timing(
        name=ALL,
        width=timings[0].width,
        height=timings[0].height,
        reference_ms=sum(one.reference_ms for one in timings),
        same_draws_ms=sum(one.same_draws_ms for one in timings),
        own_draws_ms=sum(one.own_draws_ms for one in timings),
        most_apart=max(one.most_apart for one in timings),
        share_apart=statistics.fmean(one.share_apart for one in timings),
    )
