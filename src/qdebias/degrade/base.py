"""What a degradation is, where its randomness comes from, and how its loops over pixels are compiled."""

import functools
from collections.abc import Callable, Hashable
from typing import ParamSpec, Protocol, TypeAlias, TypeVar

import numpy as np

from qdebias.errors import ImageError, SettingError
from qdebias.image import MIN_SIDE, RgbImage

P = ParamSpec("P")
R = TypeVar("R")


Rng: TypeAlias = np.random.Generator | np.random.RandomState  # a source of noise; the latter repeats reference data


class Degradation(Protocol):
    """Turns the query image x into a conditional image x' of visibly worse quality and the same content.

    Any function of an image and a source of noise is one; nothing has to be registered or inherited.
    """

    def __call__(self, image: RgbImage, rng: Rng, /) -> RgbImage:
        """Return a degraded copy.

        Args:
            image: (H, W, 3) uint8, never modified.
            rng: Source of noise; a degradation without noise ignores it.

        Returns:
            (H, W, 3) uint8.
        """


def kind_of(degradation: Degradation) -> str:
    """Return what tells degradations and their noise apart: a function's name, or an object's class at any strength."""
    return str(getattr(degradation, "__name__", type(degradation).__name__))


def noise_rng(seed: int, image_digest: str, kind: str) -> np.random.Generator:
    """Return the source of noise for one kind of degradation of one image, which depends on these three alone.

    Args:
        seed: The run's seed, 0 or more.
        image_digest: Hex digits, from `qdebias.image.digest`.
        kind: Name of the kind, from `kind_of`.
    """
    if seed < 0:
        raise SettingError(f"the seed of the noise is {seed}; choose 0 or a positive whole number")
    entropy = [seed, int(image_digest, 16), int.from_bytes(kind.encode(), "big")]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))


def draws_noise(degradation: Degradation) -> bool:
    """Return whether a degradation draws from its source of noise, by letting it degrade a small grey picture."""
    return _draws(degradation) if isinstance(degradation, Hashable) else bool(_draws.__wrapped__(degradation))


@functools.lru_cache(maxsize=256)
def _draws(degradation: Degradation) -> bool:
    noise = np.random.Generator(np.random.SFC64(0))
    before = repr(noise.bit_generator.state)
    degradation(np.full((48, 48, 3), 128, np.uint8), noise)
    return repr(noise.bit_generator.state) != before


def rgb_view(image: RgbImage) -> RgbImage:
    """Return the image as the compiled loops take it, contiguous and not writable; refuse what is no image for them."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"a degradation takes uint8 RGB of shape (H, W, 3), got {image.dtype} of shape {image.shape}; "
            "load files with qdebias.load_image"
        )
    if min(image.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"a degradation takes images of at least {MIN_SIDE} pixels a side, got {image.shape[1]}x{image.shape[0]}; "
            "use a larger copy"
        )
    view = np.ascontiguousarray(image).view()
    view.flags.writeable = False
    return view


def compiled(kernel: Callable[P, R]) -> Callable[P, R]:
    """Return `kernel` as machine code: one thread, without the GIL, in the strict arithmetic that is alike everywhere.

    Numba is loaded, and the kernel compiled, at the first call; the code is kept on disk where that can be written.
    """
    code: Callable[P, R] | None = None

    @functools.wraps(kernel)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal code
        if code is None:
            import numba

            # A check for division by zero would keep divisions from the vector units.
            compiler = functools.partial(numba.njit, nogil=True, error_model="numpy")
            try:
                code = compiler(cache=True)(kernel)
            except RuntimeError:  # numba found no folder that it may write its cache to
                code = compiler()(kernel)
        return code(*args, **kwargs)

    return call
