"""Other images than the query: where conditions of other content are taken from."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qdebias.errors import ImageError, SettingError
from qdebias.image import MAX_PIXELS, RgbImage, digest, downsized, load_image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePool:
    """Image files, each with its content: a scene, a reference photograph, a prompt, or a name of its own."""

    paths: tuple[Path, ...]  # whose order decides which ones a query is given
    contents: tuple[str, ...]
    content_of: Mapping[str, str] = field(
        default_factory=dict
    )  # of query images, by digest; else only kept from itself
    max_pixels: int = MAX_PIXELS  # larger images are passed over, like those that cannot be read
    max_side: int | None = field(default=None, compare=False)  # as for `downsized`; recorded once in a run folder

    def __post_init__(self) -> None:
        if len(self.paths) != len(self.contents):
            raise SettingError(
                f"{len(self.paths)} images and {len(self.contents)} contents; each image shows something"
            )

    def draw(self, image: str, count: int, rng: np.random.Generator) -> tuple[RgbImage, ...]:
        """Return different images of other content than the query; see `qdebias.methods.method.Pool`."""
        content = self.content_of.get(image)
        found: list[RgbImage] = []
        for place in rng.permutation(len(self.paths)):
            if len(found) == count:
                break
            if content is None or self.contents[place] != content:
                path = self.paths[place]
                with suppress(ImageError):
                    other = load_image(path, max_pixels=self.max_pixels)
                    other = other if self.max_side is None else downsized(other, self.max_side, name=str(path))
                    found += [other] if digest(other) != image else []
        if len(found) < count:
            raise SettingError(
                f"{count} images that do not show what the query shows are needed, and the pool of "
                f"{len(self.paths)} has {len(found)}; give a folder of other images (--pool)"
            )
        return tuple(found)
