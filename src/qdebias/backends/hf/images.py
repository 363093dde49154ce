"""Prepares and encodes each distinct image of a call once, however many prompts show it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import AtOnce, memory_of, moved
from qdebias.backends.hf.families import Family, Features, Part
from qdebias.backends.hf.rows import Key, Prepared
from qdebias.image import RgbImage
from qdebias.prompts import Request

_BLACK = Image.new("RGB", (32, 32))


@dataclass(eq=False)
class SharedImages:
    """The images of one call. It replaces the image processor, and prepares every image once.

    `features` holds the encoded images, and `sizes` how many tokens of a prompt each image takes, where it takes any.
    """

    model: Model
    image_processor: Any  # the one that it replaces
    family: Family
    at_once: AtOnce
    features: dict[Key, Features] = field(default_factory=dict, init=False)
    sizes: dict[Key, int] = field(default_factory=dict, init=False)
    _names: dict[int, int] = field(default_factory=dict, init=False)  # by identity of arrays and of their pictures
    _alike: dict[tuple[object, ...], list[tuple[int, RgbImage]]] = field(default_factory=dict, init=False)
    _pictures: list[Any] = field(default_factory=list, init=False)  # by name
    _kind: Any = field(default=dict, init=False)  # of what the image processor returns
    _parts: dict[Key, Part] = field(default_factory=dict, init=False)
    _waiting: dict[Key, Part] = field(default_factory=dict, init=False)  # to be encoded

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.image_processor, name)

    def fetch_images(self, images: Any) -> Any:  # noqa: ANN401
        """Return the images as they are: they are no addresses."""
        return images

    def prepare(
        self, prepare: Callable[..., list[Prepared]], request: Request
    ) -> tuple[list[Prepared], tuple[Key, ...]]:
        """Return the questions of a request, prepared by `prepare`, and the keys of its images in `features`."""
        names = []
        for image in request.images:
            name = self._names.get(id(image))
            if name is None:
                some = image[::16, ::16].tobytes()  # often enough to tell apart
                alike = self._alike.setdefault((image.shape, some), [])
                name = next((name for name, other in alike if np.array_equal(image, other)), len(self._pictures))
                self._names[id(image)] = name
                if name == len(self._pictures):
                    alike.append((name, image))
                    takes_arrays = getattr(self.image_processor, "takes_arrays", False)
                    self._pictures.append(image if takes_arrays else Image.fromarray(image))
                    self._names[id(self._pictures[name])] = name
            names.append(name)
        prepared = prepare(request, pictures=[self._pictures[name] for name in names])
        several = int(self.family.companion and len(names) > 1)
        keys = [(name, several) for name in names]
        if self.family.tiles:  # the last of them may have no place in the prompt
            tiles = {name: self._parts[name, 0]["pixel_values"].split(1) for name in names}
            keys = [(name, tile) for name in names for tile in range(len(tiles[name]))][: int(prepared[0].shown.sum())]
            self._waiting |= {
                (name, tile): {"pixel_values": tiles[name][tile]}
                for name, tile in keys
                if (name, tile) not in self.features
            }
        return prepared, tuple(keys)

    def __call__(self, images: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return the output of the image processor for all images together, with shapes in place of pixels."""
        family, pictures = self.family, flat(images)
        several = int(family.companion and len(pictures) > 1)
        keys = [(self._names[id(picture)], several) for picture in pictures]
        for key, picture in zip(keys, pictures, strict=True):
            if key in self._parts:
                continue
            made = self.image_processor([[picture, *[_BLACK] * several]], **options)
            self._kind = type(made)
            part = {name: torch.from_numpy(one) if isinstance(one, np.ndarray) else one for name, one in made.items()}
            if several:  # what counts the images of a prompt stays as it is
                part = {name: value if len(value) == 1 else value[:1] for name, value in part.items()}
            self._parts[key] = part
            if not family.tiles:
                self._waiting[key] = part
        names = self._parts[keys[0]].keys()
        parts = {name: [self._parts[key][name] for key in keys] for name in names}
        return self._kind({name: joined(values, family.axis, blank=True) for name, values in parts.items()})

    def encode(self, *, least: int = 1) -> None:
        """Encode the images that are waiting, unless they are fewer than `least`, and drop their pixels."""
        if len(self._waiting) < least:
            return

        def together(keys: Sequence[Key]) -> list[Features]:
            parts = [self._waiting[key] for key in keys]
            names = [name for name, value in parts[0].items() if isinstance(value, torch.Tensor)]
            arguments = {name: moved(self.model, joined([part[name] for part in parts])) for name in names}
            with memory_of(self.model.device), torch.inference_mode():
                features = self.family.encode(self.model, arguments)
            found: list[dict[str, Any]] = [{} for _ in keys]
            for name, value in features.items():  # a tensor, or a list of as many parts of each image
                size = len(value) // len(keys)
                for place, one in enumerate(found):
                    one[name] = value[place * size : (place + 1) * size]
            return list[Features](found)

        keys, tiles = list(self._waiting), self.family.tiles
        shapes = [
            tuple((name, one.shape) for name, one in part.items() if isinstance(one, torch.Tensor))
            for part in self._waiting.values()
        ]
        self.features |= zip(keys, self.at_once.run(keys, together, shapes=shapes), strict=True)
        for name, number in keys:
            if tiles:
                self.sizes[name, number] = 1
            elif "pooled" in (features := self.features[name, number]):  # tensors, whichever way a model nests them
                self.sizes[name, number] = sum(int(part[..., 0].numel()) for part in features["pooled"])
            part = self._parts[name, 0 if tiles else number]
            if not tiles or all((name, tile) in self.features for tile in range(len(part["pixel_values"]))):
                self._parts[name, 0 if tiles else number] = {
                    label: joined([value], blank=True) for label, value in part.items()
                }
        self._waiting.clear()


def joined(values: Sequence[Any], axis: int = 0, *, blank: bool = False) -> Any:  # noqa: ANN401  tensors or lists
    """Join the values of several images in order: smaller tensors are padded with zeros, numbers become the largest.

    With `blank` floating-point numbers are not copied, and the result has only their shape.
    """
    first = values[0]
    if isinstance(first, torch.Tensor) and first.ndim:
        sizes = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        sizes[axis] = sum(value.shape[axis] for value in values)
        if blank and first.is_floating_point():
            return first.new_zeros(()).expand(sizes)
        if len(values) == 1:
            return first
        whole, start = first.new_zeros(sizes), 0
        for value in values:
            part = whole.narrow(axis, start, value.shape[axis])
            part[tuple(map(slice, value.shape))] = value
            start += value.shape[axis]
        return whole
    if isinstance(first, torch.Tensor):
        return torch.stack(list(values)).amax()
    if not isinstance(first, list | tuple):
        return first
    if axis:
        return [joined(nested, axis - 1) for nested in zip(*values, strict=True)]
    return [item for value in values for item in value]


def flat(images: Any) -> list[Any]:  # noqa: ANN401
    """Return the images of nested lists, in order: of Pillow, or arrays."""
    return [images] if isinstance(images, Image.Image | np.ndarray) else [one for part in images for one in flat(part)]


def image_settings(processor: Processor) -> str:
    """Return how images become pixel values, as one line: the class and the configuration of the image processor."""
    part = processor.image_processor
    settings = {name: value for name, value in part.to_dict().items() if not name.startswith("_")}
    return f"{type(part).__name__} {json.dumps(settings, sort_keys=True, default=str)}"
