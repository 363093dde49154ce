"""The one call that most people need."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Literal, cast, overload

import numpy as np
from PIL import Image

from qdebias.backends.base import Backend
from qdebias.image import EncodedImage, ImageSource, is_tensor
from qdebias.inputs import RemoteImage, open_images
from qdebias.inputs.addresses import is_address
from qdebias.inputs.images import names_one
from qdebias.methods.method import Method, Score
from qdebias.methods.plan import Failure
from qdebias.runs.scorer import Scorer


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
    if isinstance(images, str | PathLike):
        sources = [images] if names_one(str(images)) else open_images([str(images)])
    elif not isinstance(images, Iterable) or _is_one(images):
        sources = [cast(ImageSource, images)]
    else:
        several = cast(Iterable[ImageSource], images)
        sources = (RemoteImage(one) if isinstance(one, str) and is_address(one) else one for one in several)
    return list(Scorer(backend=model, method=method, seed=seed).score_many(sources, on_error=on_error))


def _is_one(images: object) -> bool:
    """Tell whether what can be iterated over is one image and not several."""
    if is_tensor(images):
        return getattr(images, "ndim", 0) == 3
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, Image.Image | EncodedImage | bytes | Mapping)
