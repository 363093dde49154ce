"""Six more degradations of ImageNet-C (Hendrycks & Dietterich, 2019), none of them in the paper."""

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from qdebias.degrade.base import Rng, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """The image as a JPEG file of low quality shows it, as in ImageNet-C: Pillow's encoder, colours at half resolution.

    Another version of the JPEG library may round differently, by a grey level or two.

    Attributes:
        quality: Of the encoder, 1 to 95. ImageNet-C's severity 3: 15.
    """

    quality: int = 15

    def __post_init__(self) -> None:
        if self.quality not in range(1, 96):
            raise SettingError(f"the quality of a JPEG file is a whole number from 1 to 95, got {self.quality}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the compressed copy of a (H, W, 3) image; draws no noise."""
        with io.BytesIO() as file:
            Image.fromarray(rgb_view(image)).save(file, "JPEG", quality=self.quality)
            return np.array(Image.open(file))


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianNoise:
    """Noise that is added to every value, x' = clip(x + n, 0, 1), as in ImageNet-C (Hendrycks & Dietterich, 2019).

    Attributes:
        deviation: Standard deviation of n, where white is 1. ImageNet-C's severity 3: 0.18.
    """

    deviation: float = 0.18

    def __post_init__(self) -> None:
        if not 0 < self.deviation <= 10:
            raise SettingError(f"Gaussian noise has a deviation over 0, at most 10, got {self.deviation}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:
        """Return the noisy copy of a (H, W, 3) image."""
        image = rgb_view(image)
        noisy = image / 255.0 + rng.normal(scale=self.deviation, size=image.shape)
        return np.asarray(np.clip(noisy, 0, 1) * 255, dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianBlur:
    """The image under a Gaussian, cut off at 4 standard deviations, with the border repeated, as in ImageNet-C.

    Attributes:
        deviation: Standard deviation of the Gaussian, in pixels. ImageNet-C's severity 3: 3.
    """

    deviation: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.deviation <= 50:
            raise SettingError(f"Gaussian blur has a deviation over 0, at most 50 pixels, got {self.deviation}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the blurred copy of a (H, W, 3) image; draws no noise."""
        values = rgb_view(image).astype(np.float32)
        side = 2 * int(4 * self.deviation + 0.5) + 1
        blurred = cv2.GaussianBlur(values, (side, side), self.deviation, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(np.clip(blurred, 0, 255), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixelate:
    """The image made small by means over boxes, and large again by repeating pixels, as in ImageNet-C.

    Attributes:
        scale: Width and height of the small image over those of the image. ImageNet-C's severity 3: 0.4.
    """

    scale: float = 0.4

    def __post_init__(self) -> None:
        if not 0.05 <= self.scale < 1:
            raise SettingError(f"pixelation makes an image smaller, by 0.05 to below 1, got {self.scale}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the pixelated copy of a (H, W, 3) image; draws no noise."""
        picture = Image.fromarray(rgb_view(image))
        width, height = picture.size
        small = picture.resize((int(width * self.scale), int(height * self.scale)), Image.Resampling.BOX)
        return np.array(small.resize((width, height), Image.Resampling.BOX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Every colour moved towards the mean m of the image, x' = m + c (x - m), as in ImageNet-C.

    Attributes:
        gain: c. ImageNet-C's severity 3: 0.2.
    """

    gain: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.gain < 1:
            raise SettingError(f"the contrast is lowered by a gain in [0, 1), got {self.gain}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the copy of low contrast of a (H, W, 3) image; draws no noise."""
        x = rgb_view(image) / 255.0
        mean = x.mean(axis=(0, 1), keepdims=True)
        return np.asarray(np.clip((x - mean) * self.gain + mean, 0, 1) * 255, dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness:
    """Value v of the HSV space replaced by clip(v + offset, 0, 1); hue and saturation stay, as in ImageNet-C.

    A colour (r, g, b) of value v becomes its multiple by v'/v; black becomes grey.

    Attributes:
        offset: Added to every value. ImageNet-C's severity 3: 0.3. Below 0 it underexposes, which ImageNet-C does not.
    """

    offset: float = 0.3

    def __post_init__(self) -> None:
        if not -1 <= self.offset <= 1 or self.offset == 0:
            raise SettingError(f"the brightness changes by an offset in [-1, 1] that is not 0, got {self.offset}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the brighter copy of a (H, W, 3) image; draws no noise."""
        x = rgb_view(image) / 255.0
        value = x.max(axis=2, keepdims=True)
        lit = np.clip(value + self.offset, 0, 1)
        colour = np.divide(x, value, out=np.ones_like(x), where=value > 0)
        return np.asarray(colour * lit * 255, dtype=np.uint8)
