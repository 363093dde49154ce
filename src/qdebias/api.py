"""The one call that most people need."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Literal, overload

import numpy as np
from PIL import Image

from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend
from qdebias.engine import Failure, Scorer
from qdebias.image import EncodedImage, ImageSource
from qdebias.inputs import RemoteImage, open_images
from qdebias.inputs.addresses import is_address
from qdebias.inputs.images import names_one
from qdebias.method import Method, Score


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
        images: Paths, addresses, uint8 arrays (H, W, 3) or Pillow images; one is taken as a list of one. A single text
            may also be a folder, a pattern, a list, a table, a shard or an address, as on the command line.
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
    elif images is None or isinstance(images, Image.Image | np.ndarray | EncodedImage | bytes | Mapping):
        sources = [images]
    else:
        sources = (RemoteImage(one) if isinstance(one, str) and is_address(one) else one for one in images)
    backend = load_backend(model) if isinstance(model, str) else model
    return list(Scorer(backend=backend, method=method, seed=seed).score_many(sources, on_error=on_error))
