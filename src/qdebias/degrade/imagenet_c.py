"""Six degradations of ImageNet-C (Hendrycks & Dietterich, 2019) beyond the paper, and all degradations by name."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from PIL import Image

from qdebias.degrade.base import Degradation, Rng, rgb_view
from qdebias.degrade.fog import Fog
from qdebias.degrade.saturate import Saturate
from qdebias.degrade.spatter import Mud, Spatter, Water
from qdebias.degrade.zoom_blur import ZoomBlur
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.system.named import import_named, is_import, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """The image as a JPEG file of low quality shows it: Pillow's encoder, colours at half resolution.

    Another version of the JPEG library may round differently, by a grey level or two.
    """

    quality: int = 15  # of the encoder, 1 to 95; this and the defaults below are ImageNet-C's severity 3

    def __post_init__(self) -> None:
        if self.quality not in range(1, 96):
            raise SettingError(f"the quality of a JPEG file is a whole number from 1 to 95, got {self.quality}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the degraded copy, (H, W, 3)."""
        with io.BytesIO() as file:
            Image.fromarray(rgb_view(image)).save(file, "JPEG", quality=self.quality)
            return np.array(Image.open(file))


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianNoise:
    """Noise that is added to every value, x' = clip(x + n, 0, 1)."""

    deviation: float = 0.18  # standard deviation of n, where white is 1

    def __post_init__(self) -> None:
        if not 0 < self.deviation <= 10:
            raise SettingError(f"Gaussian noise has a deviation over 0, at most 10, got {self.deviation}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:
        """Return the degraded copy, (H, W, 3)."""
        image = rgb_view(image)
        noisy = image / 255.0 + rng.normal(scale=self.deviation, size=image.shape)
        return np.asarray(np.clip(noisy, 0, 1) * 255, dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianBlur:
    """The image under a Gaussian, cut off at 4 standard deviations, with the border repeated."""

    deviation: float = 3.0  # standard deviation of the Gaussian, in pixels

    def __post_init__(self) -> None:
        if not 0 < self.deviation <= 50:
            raise SettingError(f"Gaussian blur has a deviation over 0, at most 50 pixels, got {self.deviation}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the degraded copy, (H, W, 3)."""
        values = rgb_view(image).astype(np.float32)
        side = 2 * int(4 * self.deviation + 0.5) + 1
        blurred = cv2.GaussianBlur(values, (side, side), self.deviation, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(np.clip(blurred, 0, 255), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixelate:
    """The image made small by means over boxes, and large again by repeating pixels."""

    scale: float = 0.4  # width and height of the small image over those of the image

    def __post_init__(self) -> None:
        if not 0.05 <= self.scale < 1:
            raise SettingError(f"pixelation makes an image smaller, by 0.05 to below 1, got {self.scale}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the degraded copy, (H, W, 3)."""
        picture = Image.fromarray(rgb_view(image))
        width, height = picture.size
        small = picture.resize((int(width * self.scale), int(height * self.scale)), Image.Resampling.BOX)
        return np.array(small.resize((width, height), Image.Resampling.BOX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Every colour moved towards the mean m of the image, x' = m + c (x - m)."""

    gain: float = 0.2  # c

    def __post_init__(self) -> None:
        if not 0 <= self.gain < 1:
            raise SettingError(f"the contrast is lowered by a gain in [0, 1), got {self.gain}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the degraded copy, (H, W, 3)."""
        x = rgb_view(image) / 255.0
        mean = x.mean(axis=(0, 1), keepdims=True)
        return np.asarray(np.clip((x - mean) * self.gain + mean, 0, 1) * 255, dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness:
    """Value v of the HSV space replaced by clip(v + offset, 0, 1); hue and saturation stay.

    A colour (r, g, b) of value v becomes its multiple by v'/v; black becomes grey.
    """

    offset: float = 0.3  # added to every value; below 0 it underexposes, which ImageNet-C does not

    def __post_init__(self) -> None:
        if not -1 <= self.offset <= 1 or self.offset == 0:
            raise SettingError(f"the brightness changes by an offset in [-1, 1] that is not 0, got {self.offset}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the degraded copy, (H, W, 3)."""
        x = rgb_view(image) / 255.0
        value = x.max(axis=2, keepdims=True)
        colour = np.divide(x, value, out=np.ones_like(x), where=value > 0)
        return np.asarray(colour * np.clip(value + self.offset, 0, 1) * 255, dtype=np.uint8)


SEVERITIES: dict[str, tuple[Degradation, ...]] = {
    "zoom-blur": tuple(
        ZoomBlur(largest=largest, step=step, original_again=True, black_edges=True)
        for largest, step in ((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03))
    ),
    "spatter": (
        Spatter(blur=4, threshold=0.69, liquid=Water(strength=0.6)),
        Spatter(blur=3, threshold=0.68, liquid=Water(strength=0.6)),
        Spatter(blur=2, threshold=0.68, liquid=Water(strength=0.5)),
        Spatter(blur=1, threshold=0.65, liquid=Mud(softness=1.5)),
        Spatter(mean=0.67, deviation=0.4, blur=1, threshold=0.65, liquid=Mud(softness=1.5)),
    ),
    "saturate": tuple(
        Saturate(gain=gain, offset=offset)
        for gain, offset in ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))
    ),
    "fog": tuple(
        Fog(density=density, decay=decay)
        for density, decay in ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
    ),
    "jpeg": tuple(Jpeg(quality=quality) for quality in (25, 18, 15, 10, 7)),
    "gaussian-noise": tuple(GaussianNoise(deviation=deviation) for deviation in (0.08, 0.12, 0.18, 0.26, 0.38)),
    "gaussian-blur": tuple(GaussianBlur(deviation=deviation) for deviation in (1.0, 2.0, 3.0, 4.0, 6.0)),
    "pixelate": tuple(Pixelate(scale=scale) for scale in (0.6, 0.5, 0.4, 0.3, 0.25)),
    "contrast": tuple(Contrast(gain=gain) for gain in (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": tuple(Brightness(offset=offset) for offset in (0.1, 0.2, 0.3, 0.4, 0.5)),
}
"""For each kind, the degradation of ImageNet-C at severity 1, 2, 3, 4, 5."""

DEGRADATIONS: Mapping[str, Degradation] = {kind: row[2] for kind, row in SEVERITIES.items()} | {
    "zoom-blur": ZoomBlur(),
    "spatter": Spatter(),
    "saturate": Saturate(),
    "fog": Fog(),
}
"""The four degradations of the paper with its settings, and more of ImageNet-C at severity 3."""


def imagenet_c(kind: str, severity: int) -> Degradation:
    """Return one of ImageNet-C's degradations; from the same rng it makes the same pixels, to one grey level.

    Args:
        kind: One of `SEVERITIES`, such as "zoom-blur"; "zoom_blur" is the same.
        severity: 1 (weakest) to 5. The paper's released code takes 3, and 4 for fog.
    """
    kind = kind.replace("_", "-")
    if kind not in SEVERITIES:
        raise SettingError(f"ImageNet-C's {kind!r} is not among {', '.join(SEVERITIES)}; choose one of these")
    if severity not in range(1, 6):
        raise SettingError(f"ImageNet-C has severities 1 to 5, got {severity}; choose one of these")
    return SEVERITIES[kind][severity - 1]


def degradation_named(name: str) -> Degradation:
    """Return one of `DEGRADATIONS`, "fog4" for a severity of ImageNet-C, or one's own by "package.module:name"."""
    if name in DEGRADATIONS:
        return DEGRADATIONS[name]
    severe = re.fullmatch(r"(.+?)([0-9]+)", name)
    if severe is not None and severe[1] in DEGRADATIONS:
        return imagenet_c(severe[1], int(severe[2]))
    if not is_import(name):
        raise SettingError(
            f"there is no degradation {name!r}{nearest(name, DEGRADATIONS)}; choose from "
            f"{', '.join(DEGRADATIONS)}, followed by a digit from 1 to 5 for a severity of ImageNet-C, "
            f"or name your own as package.module:name"
        )
    found = import_named(name, what="degradation")
    if isinstance(found, type) or not callable(found):
        raise SettingError(
            f"degradation {name} is {found!r}; it has to be a function of an image and a source of noise"
        )
    return cast(Degradation, found)


def name_of(name: str) -> str:
    """Return the shortest name of the degradation of that name: "jpeg" for "jpeg3"."""
    wanted = degradation_named(name)
    return next((short for short, known in DEGRADATIONS.items() if known == wanted), name)
