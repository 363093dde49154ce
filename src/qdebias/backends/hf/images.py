"""Each distinct image of a call prepared and encoded once, however many prompts show it."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from qdebias.backends.hf import Model, Part, Processor
from qdebias.backends.hf.devices import AtOnce, memory_of
from qdebias.backends.hf.families import Family, Features, joined, split, tokens_of
from qdebias.backends.hf.forward import moved
from qdebias.image import RgbImage
from qdebias.prompts import Request

Key: TypeAlias = tuple[str, int]
"""Name of an image in a call, and whether it was prepared as one of several (1, 0), or which of its tiles is meant."""

_BLACK = Image.new("RGB", (32, 32))


class SharedImages:
    """The images of one call."""

    def __init__(self, model: Model, processor: Processor, family: Family, at_once: AtOnce) -> None:
        self._model = model
        self._family = family
        self._at_once = at_once
        self._names: dict[int, str] = {}
        self._alike: dict[tuple[object, ...], list[tuple[str, RgbImage]]] = {}
        self._pictures: dict[str, Image.Image] = {}
        self._features: dict[Key, Features] = {}
        self._once = _PreparedOnce(processor.image_processor, family)
        self.processor = copy(processor)
        self.processor.image_processor = self._once

    def pictures(self, request: Request) -> list[Image.Image]:
        """Return the images of a request as the processor takes them: the same object for the same pixels."""
        names = [self._name(image) for image in request.images]
        for name, image in zip(names, request.images, strict=True):
            if name not in self._pictures:
                self._pictures[name] = Image.fromarray(image)
                self._once.names[id(self._pictures[name])] = name
        return [self._pictures[name] for name in names]

    def _name(self, image: RgbImage) -> str:
        """Return what stands for the pixels of an image: where some of its pixels tell it apart, no more are read."""
        if id(image) not in self._names:
            alike = self._alike.setdefault((image.shape, image[::16, ::16].tobytes()), [])
            name = next((name for name, other in alike if np.array_equal(image, other)), f"image {len(self._names)}")
            alike.append((name, image))
            self._names[id(image)] = name
        return self._names[id(image)]

    def keys(self, request: Request, places: int) -> tuple[Key, ...]:
        """Return under which keys `insert` finds the images of a request.

        Args:
            request: It was prepared.
            places: How many places its prompts have for images; where tiles have their own, there may be fewer of them
                than tiles, and the last tiles are not shown.
        """
        names = [self._name(image) for image in request.images]
        if not self._family.tiles:
            several = int(self._family.companion and len(names) > 1)
            return tuple((name, several) for name in names)
        tiles = [(name, tile) for name in names for tile in range(self._once.tiles(name))][:places]
        for key in set(tiles) - self._features.keys():
            self._once.want(key, self._pictures[key[0]])
        return tuple(tiles)

    def encode(self, *, least: int = 1) -> None:
        """Encode the images that were prepared since, unless they are fewer than `least`; then drop their pixels."""
        waiting = self._once.waiting
        if len(waiting) < least:
            return
        alike: dict[tuple[object, ...], list[Key]] = {}
        for key, part in waiting.items():
            shapes = tuple((name, one.shape) for name, one in part.items() if isinstance(one, torch.Tensor))
            alike.setdefault(shapes, []).append(key)
        for keys in alike.values():
            self._features |= zip(keys, self._at_once.run(keys, self._encode_together), strict=True)
        self._once.forget_pixels()

    def _encode_together(self, keys: Sequence[Key]) -> list[Features]:
        parts = [self._once.waiting[key] for key in keys]
        names = [name for name, value in parts[0].items() if isinstance(value, torch.Tensor)]
        arguments = {name: moved(self._model, joined([part[name] for part in parts])) for name in names}
        with memory_of(self._model.device), torch.inference_mode():
            features = self._family.encode(self._model, arguments)
        apart = {name: split(value, len(keys)) for name, value in features.items()}
        return [{name: values[place] for name, values in apart.items()} for place in range(len(keys))]

    @property
    def sizes(self) -> dict[Key, int]:
        """How many tokens of a prompt each encoded image takes, where images are put instead of tokens."""
        if self._family.tiles:
            return dict.fromkeys(self._features, 1)
        return {key: tokens_of(features) for key, features in self._features.items() if "pooled" in features}

    def insert(self, keys: Sequence[Key]) -> Mapping[str, Any]:
        """Return the arguments of the forward pass that show these images, in order."""
        found = [self._features[key] for key in keys]
        return self._family.insert({name: joined([one[name] for one in found]) for name in found[0]})


class _PreparedOnce:
    """Stands in for an image processor and prepares every image once.

    Attributes:
        names: Name of each image by its identity as an object.
        waiting: What was made of the images that are not encoded yet.
    """

    def __init__(self, real: Part, family: Family) -> None:
        self._real = real
        self._family = family
        self._options: Mapping[str, Any] = {}
        self._parts: dict[Key, Mapping[str, Any]] = {}
        self._dropped: set[str] = set()
        self._kind: Any = dict
        self.names: dict[int, str] = {}
        self.waiting: dict[Key, Mapping[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._real, name)

    def fetch_images(self, images: Any) -> Any:  # noqa: ANN401
        """Return the images as they are: they are no addresses."""
        return images

    def __call__(self, images: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return what the real one would make of all images together."""
        pictures, self._options = flat(images), options
        several = self._family.companion and len(pictures) > 1
        parts = [self._part(image, several=several) for image in pictures]
        return self._kind({name: self._shapes_of([part[name] for part in parts]) for name in parts[0]})

    def _shapes_of(self, values: Sequence[Any]) -> Any:  # noqa: ANN401
        """Join the values of several images; of pixels only the shapes, from which prompts are made."""
        axis = self._family.axis
        if not _is_large(values[0]):
            return joined(values, axis)
        sizes = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        sizes[axis] = sum(value.shape[axis] for value in values)
        return values[0].new_zeros(()).expand(sizes)

    def _part(self, image: Image.Image, *, several: bool) -> Mapping[str, Any]:
        key = self.names[id(image)], int(several)
        if key not in self._parts:
            self._parts[key] = self._made(image, several=several)
            if not self._family.tiles:
                self.waiting[key] = self._parts[key]
        return self._parts[key]

    def _made(self, image: Image.Image, *, several: bool) -> Mapping[str, Any]:
        found = self._real([[image, _BLACK] if several else [image]], **self._options)
        self._kind = type(found)
        made = {name: torch.from_numpy(one) if isinstance(one, np.ndarray) else one for name, one in found.items()}
        if several:  # what counts the images of a prompt stays as it is
            return {name: value if len(value) == 1 else value[:1] for name, value in made.items()}
        return made

    def tiles(self, name: str) -> int:
        """Return how many tiles an image was cut into."""
        return len(self._parts[name, 0]["pixel_values"])

    def want(self, key: Key, picture: Image.Image) -> None:
        """Let a tile wait to be encoded; the image is prepared again where its pixels were dropped."""
        name, tile = key
        if name in self._dropped:
            self._parts[name, 0] = self._made(picture, several=False)
            self._dropped.remove(name)
        self.waiting[key] = {"pixel_values": self._parts[name, 0]["pixel_values"][tile : tile + 1]}

    def forget_pixels(self) -> None:
        """Keep of the encoded images only the shapes, from which prompts are made."""
        for key in {(name, 0 if self._family.tiles else several) for name, several in self.waiting}:
            self._parts[key] = {
                name: value.new_zeros(()).expand(value.shape) if _is_large(value) else value
                for name, value in self._parts[key].items()
            }
            self._dropped.add(key[0])
        self.waiting.clear()


def _is_large(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def flat(images: Any) -> list[Image.Image]:  # noqa: ANN401
    """Return the images of nested lists, in order."""
    return [images] if isinstance(images, Image.Image) else [one for part in images for one in flat(part)]


def image_settings(processor: Processor) -> str:
    """Return how images become pixel values, as one line: the class and the configuration of the image processor."""
    part = processor.image_processor
    settings = {name: value for name, value in part.to_dict().items() if not name.startswith("_")}
    return f"{type(part).__name__} {json.dumps(settings, sort_keys=True, default=str)}"
