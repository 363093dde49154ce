"""Each distinct image of a call prepared and encoded once, however many prompts show it."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import AtOnce, memory_of
from qdebias.backends.hf.families import Family, Features, Part, joined, joined_shape, split
from qdebias.backends.hf.forward import moved
from qdebias.image import RgbImage
from qdebias.prompts import Request

Key: TypeAlias = tuple[str, int]
"""Name of an image in a call, and whether it was prepared as one of several (1, 0), or which of its tiles is meant."""

_BLACK = Image.new("RGB", (32, 32))


class SharedImages:
    """The images of one call. In `processor` it stands for the image processor, and prepares every image once."""

    def __init__(self, model: Model, processor: Processor, family: Family, at_once: AtOnce) -> None:
        self._model = model
        self._processor = processor
        self._real = processor.image_processor
        self._family = family
        self._at_once = at_once
        self._names: dict[int, str] = {}  # by the identity of arrays and of the pictures made of them
        self._alike: dict[tuple[object, ...], list[tuple[str, RgbImage]]] = {}
        self._pictures: dict[str, Any] = {}
        self._options: Mapping[str, Any] = {}
        self._kind: Any = dict
        self._parts: dict[Key, Part] = {}
        self._dropped: set[str] = set()
        self._waiting: dict[Key, Part] = {}  # to be encoded
        self._features: dict[Key, Features] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._real, name)

    @property
    def processor(self) -> Processor:
        """The processor to prepare requests with; not kept here, as a circle would keep the images after the call."""
        processor = copy(self._processor)
        processor.image_processor = self
        return processor

    def fetch_images(self, images: Any) -> Any:  # noqa: ANN401
        """Return the images as they are: they are no addresses."""
        return images

    def pictures(self, request: Request) -> list[Any]:
        """Return the images of a request as the processor takes them: the same object for the same pixels."""
        for image in request.images:
            if id(image) in self._names:
                continue
            alike = self._alike.setdefault((image.shape, image[::16, ::16].tobytes()), [])  # often enough to tell apart
            name = next((name for name, other in alike if np.array_equal(image, other)), f"image {len(self._pictures)}")
            self._names[id(image)] = name
            if name not in self._pictures:
                picture = image if getattr(self._real, "takes_arrays", False) else Image.fromarray(image)
                self._pictures[name] = picture
                self._names[id(picture)] = name
                alike.append((name, image))
        return [self._pictures[self._names[id(image)]] for image in request.images]

    def __call__(self, images: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return what the image processor would make of all images together; of pixels the shapes alone."""
        pictures, self._options = flat(images), options
        several = int(self._family.companion and len(pictures) > 1)
        keys = [(self._names[id(picture)], several) for picture in pictures]
        for key in keys:
            if key not in self._parts:
                self._parts[key] = self._prepared(key)
                if not self._family.tiles:
                    self._waiting[key] = self._parts[key]
        made, axis = {}, self._family.axis
        for name, first in self._parts[keys[0]].items():
            values = [self._parts[key][name] for key in keys]
            large = _is_large(first)
            made[name] = first.new_zeros(()).expand(joined_shape(values, axis)) if large else joined(values, axis)
        return self._kind(made)

    def _prepared(self, key: Key) -> Part:
        name, several = key
        found = self._real([[self._pictures[name], *[_BLACK] * several]], **self._options)
        self._kind = type(found)
        made = {name: torch.from_numpy(one) if isinstance(one, np.ndarray) else one for name, one in found.items()}
        if several:  # what counts the images of a prompt stays as it is
            return {name: value if len(value) == 1 else value[:1] for name, value in made.items()}
        return made

    def keys(self, request: Request, places: int) -> tuple[Key, ...]:
        """Return under which keys `insert` finds the images of a request that was prepared.

        Where tiles have `places` of their own, there may be fewer of these than tiles: the last tiles are not shown.
        """
        names = [self._names[id(image)] for image in request.images]
        if not self._family.tiles:
            several = int(self._family.companion and len(names) > 1)
            return tuple((name, several) for name in names)
        counts = {name: len(self._parts[name, 0]["pixel_values"]) for name in names}
        tiles = [(name, tile) for name in names for tile in range(counts[name])][:places]
        for name, tile in tiles:
            if (name, tile) in self._features:
                continue
            if name in self._dropped:
                self._parts[name, 0] = self._prepared((name, 0))
                self._dropped.remove(name)
            self._waiting[name, tile] = {"pixel_values": self._parts[name, 0]["pixel_values"][tile : tile + 1]}
        return tuple(tiles)

    def encode(self, *, least: int = 1) -> None:
        """Encode the images that were prepared since, unless they are fewer than `least`; then drop their pixels."""
        if len(self._waiting) < least:
            return
        alike: dict[tuple[object, ...], list[Key]] = {}
        for key, part in self._waiting.items():
            shapes = tuple((name, one.shape) for name, one in part.items() if isinstance(one, torch.Tensor))
            alike.setdefault(shapes, []).append(key)
        for keys in alike.values():
            self._features |= zip(keys, self._at_once.run(keys, self._encode_together), strict=True)
        for name, several in {(name, 0 if self._family.tiles else several) for name, several in self._waiting}:
            self._parts[name, several] = {
                label: value.new_zeros(()).expand(value.shape) if _is_large(value) else value
                for label, value in self._parts[name, several].items()
            }
            self._dropped.add(name)
        self._waiting.clear()

    def _encode_together(self, keys: Sequence[Key]) -> list[Features]:
        parts = [self._waiting[key] for key in keys]
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
        return {
            key: sum(int(part[..., 0].numel()) for part in features["pooled"])  # whichever way a model nests them
            for key, features in self._features.items()
            if "pooled" in features
        }

    def insert(self, keys: Sequence[Key]) -> Mapping[str, Any]:
        """Return the arguments of the forward pass that show these images, in order."""
        found = [self._features[key] for key in keys]
        return self._family.insert({name: joined([one[name] for one in found]) for name in found[0]})


def _is_large(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def flat(images: Any) -> list[Any]:  # noqa: ANN401
    """Return the images of nested lists, in order: of Pillow, or arrays."""
    return [images] if isinstance(images, Image.Image | np.ndarray) else [one for part in images for one in flat(part)]


def image_settings(processor: Processor) -> str:
    """Return how images become pixel values, as one line: the class and the configuration of the image processor."""
    part = processor.image_processor
    settings = {name: value for name, value in part.to_dict().items() if not name.startswith("_")}
    return f"{type(part).__name__} {json.dumps(settings, sort_keys=True, default=str)}"
