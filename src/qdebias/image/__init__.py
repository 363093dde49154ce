"""The image as every part of qdebias sees it: uint8 RGB of shape (H, W, 3), never re-encoded or resized.

`load_image` is the only place where a file becomes pixels, so every conversion is written down once:

- EXIF orientation is applied; colour profiles are not (as in the field's published code).
- Grey, palette and CMYK become RGB; transparency is laid over white.
- 16-bit samples keep their upper 8 bits.
- MPO (a camera's JPEG with previews behind it) gives its first picture; any other file of several frames,
  such as an animated GIF or WebP, is refused: which frame is meant is not ours to guess.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from qdebias.errors import DamagedImageError, ImageError
from qdebias.image.decoding import OF_PILLOW, decode, open_picture

RgbImage: TypeAlias = npt.NDArray[np.uint8]


@runtime_checkable
class EncodedImage(Protocol):
    """An image that is not a separate file: a member of an archive, a cell of a table, something behind an address."""

    @property
    def name(self) -> str:
        """Its name in results and errors."""

    def read(self) -> bytes:
        """Return the encoded bytes, or raise an ImageError that begins with the name."""


ImageSource: TypeAlias = (
    str | os.PathLike[str] | RgbImage | Image.Image | EncodedImage | bytes | Mapping[str, Any] | None
)
"""What is accepted as one image. None, for an absent one, is an `ImageError`, so that a table may hold some."""

MAX_PIXELS = 50_000_000
"""Default limit of width x height; a larger image is refused by its header, before any pixel is decoded."""

MIN_SIDE = 32  # shortest side, in pixels, on which the degradations and the vision encoders mean anything

IDENTITY = "max_side"
"""The key of a fingerprint that limits the size of images; absent where they are scored as they are."""


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> RgbImage:
    """Return the pixels of one image, upright.

    Args:
        source: A path, an image that is already in memory (an array as described below, a Pillow image, or a torch
            tensor (3, H, W), see `to_images`), or what has the bytes of a file; the bytes themselves; or a
            mapping with `bytes` or `path`.
        max_pixels: Largest width x height that is decoded.

    Returns:
        uint8 array (H, W, 3), RGB in [0, 255], both sides at least `MIN_SIDE`.

    Raises:
        ImageError: The image cannot be read, or is no single 8- or 16-bit picture within the limits of size.
    """
    if isinstance(source, Mapping):  # as `datasets` gives an image that it does not decode
        source = source.get("bytes") or source.get("path") or ""
    if is_tensor(source):
        source = next(iter(to_images(source)), None)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ImageError(
                f"array of shape {source.shape} and type {source.dtype} is no image; "
                f"give uint8 (height, width, 3) in RGB order"
            )
        _check_sides(source.shape[1], source.shape[0], "array")
        return source
    name = "image"
    if isinstance(source, EncodedImage):
        name, source = source.name, source.read()
    elif isinstance(source, str | os.PathLike) and str(source):
        name = str(source)
    elif not isinstance(source, Image.Image | bytes):
        raise ImageError(f"{source!r} is not an image; give a path, pixels (H, W, 3) of uint8, a Pillow image or bytes")
    with _opened(source, name) as picture:
        return _decode(picture, name, max_pixels)


def load_preview(path: Path, side: int, *, max_pixels: int = MAX_PIXELS) -> tuple[RgbImage, datetime | None]:
    """Return an image of at least `side` pixels a side (if it has them), and when it was taken by the camera's clock.

    A JPEG is decoded at a reduced scale, which takes a fraction of the time and memory, and is not searched for damage;
    any other format is decoded in full. The time is EXIF DateTimeOriginal, None where the file has none.
    """
    with _opened(path, str(path)) as picture:
        pixels = _decode(picture, str(path), max_pixels, side)
        with suppress(*OF_PILLOW):
            text = picture.getexif().get_ifd(0x8769)[0x9003]
            return pixels, datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")  # cameras store no zone
    return pixels, None


@contextmanager
def _opened(source: str | os.PathLike[str] | Image.Image | bytes, name: str) -> Iterator[Image.Image]:
    """Open a file or its bytes; what Pillow and the operating system raise meanwhile becomes one ImageError."""
    try:
        if isinstance(source, Image.Image):
            yield source
        elif isinstance(source, bytes):
            with open_picture(BytesIO(source), name) as picture:
                yield picture
        elif not stat.S_ISREG(Path(source).stat().st_mode):
            raise ImageError(f"{name}: is not a file; name an image file, or its folder where folders are accepted")
        else:  # given a path, Pillow maps some formats into memory, where a file that shrinks kills the process
            with Path(source).open("rb") as file, open_picture(file, name) as picture:
                yield picture
    except MemoryError as error:  # a damaged length may ask for gigabytes
        raise ImageError(
            f"{name}: needs more memory than is available; get an intact copy, or make it smaller"
        ) from error
    except ImageError:
        raise
    except OF_PILLOW as error:
        if isinstance(error, OSError) and error.strerror:  # of the operating system, and not of Pillow
            known = {FileNotFoundError: "no such file", PermissionError: "cannot be read, permission denied"}
            why = known.get(type(error), f"cannot be read ({error.strerror})")
            raise ImageError(f"{name}: {why}") from error
        raise DamagedImageError(f"{name}: damaged or truncated ({error}); get an intact copy") from error


def _decode(picture: Image.Image, name: str, max_pixels: int, side: int | None = None) -> RgbImage:
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} = {width * height / 1e6:.0f} megapixels, more than the limit of "
            f"{max_pixels / 1e6:.0f}; make it smaller, or raise --max-megapixels (max_pixels in Python)"
        )
    _check_sides(width, height, name)
    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # to count 100,000 would take minutes
        raise ImageError(f"{name}: holds several frames; extract the one to be scored into its own file")
    return decode(picture, name, side=side)


def _check_sides(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name}: {width} x {height} is too small to score; {MIN_SIDE} a side is the minimum")


def digest(image: RgbImage) -> str:
    """Return the content hash of an image: 32 hex digits over its shape and pixels, whatever its format was.

    The random degradations are seeded with it, so that neither order nor batch size can change them.
    """
    shape = ",".join(map(str, image.shape)).encode()
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=shape).hexdigest()


def is_tensor(value: object) -> bool:
    """Whether a value is a torch tensor; torch is not loaded to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_images(batch: Any) -> list[RgbImage]:  # noqa: ANN401 (torch is not loaded here)
    """Return a batch (N, 3, H, W), or one image (3, H, W), as N arrays (H, W, 3) of uint8.

    It is uint8, or floating point in [0, 1], rounded to the nearest of 256 steps: uint8 / 255 comes back exactly.
    """
    planes = batch.detach().cpu()
    if planes.ndim == 3:
        planes = planes[None]
    if planes.ndim != 4 or planes.shape[1] != 3:
        raise ImageError(f"a tensor of shape {tuple(batch.shape)} holds no images; give (N, 3, H, W) in RGB order")
    if planes.is_floating_point():
        planes = planes.float()
        if planes.numel() and not (planes.min() >= 0 and planes.max() <= 1):  # so that NaN is refused
            raise ImageError(
                f"pixels lie in [{planes.min():.4g}, {planes.max():.4g}] and not in [0, 1]; undo the normalisation"
            )
        planes = (planes * 255).round()
    elif planes.numpy().dtype != np.uint8:
        raise ImageError(f"pixels are {batch.dtype}; give uint8, or floating point in [0, 1]")
    return [np.ascontiguousarray(image) for image in planes.numpy().astype(np.uint8).transpose(0, 2, 3, 1)]


def downsized(image: RgbImage, max_side: int, *, name: str = "image") -> RgbImage:
    """Return the image with its longer side cut down to `max_side` pixels, or as it is where that is no longer.

    The aspect ratio stays, to the nearest pixel. The filter is Pillow's Lanczos, whose support grows with the factor,
    so that nothing aliases.
    """
    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return image
    size = round(width * factor), round(height * factor)
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"{name}: {width} x {height} with a side of at most {max_side} would be {size[0]} x {size[1]}, too small "
            f"to be judged; {MIN_SIDE} a side is the minimum, so raise max_side"
        )
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def max_side_of(identity: Mapping[str, str]) -> int | None:
    """Return how large images may be according to the identity of a fingerprint, None for any size."""
    return int(identity[IDENTITY]) if IDENTITY in identity else None
