"""The degradations beside the four of the paper equal those of ImageNet-C, written out with SciPy and others."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from qdebias.cli.bench import as_bytes
from qdebias.degrade import Brightness, Contrast, GaussianBlur, GaussianNoise, Jpeg, Pixelate, imagenet_c
from qdebias.errors import SettingError
from qdebias.image import RgbImage

Reference = Callable[[RgbImage, float, np.random.RandomState], RgbImage]


def jpeg(image: RgbImage, quality: float, _: np.random.RandomState) -> RgbImage:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def gaussian_noise(image: RgbImage, deviation: float, rng: np.random.RandomState) -> RgbImage:
    return as_bytes(image / 255 + rng.normal(size=image.shape, scale=deviation))


def gaussian_blur(image: RgbImage, deviation: float, _: np.random.RandomState) -> RgbImage:
    return as_bytes(gaussian(image / 255, sigma=deviation, channel_axis=-1, mode="nearest", truncate=4.0))


def pixelate(image: RgbImage, scale: float, _: np.random.RandomState) -> RgbImage:
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def contrast(image: RgbImage, gain: float, _: np.random.RandomState) -> RgbImage:
    x = image / 255
    mean = np.mean(x, axis=(0, 1), keepdims=True)
    return as_bytes((x - mean) * gain + mean)


def brightness(image: RgbImage, offset: float, _: np.random.RandomState) -> RgbImage:
    hsv = rgb2hsv(image / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + offset, 0, 1)
    return as_bytes(hsv2rgb(hsv))


PUBLISHED: dict[str, tuple[Reference, tuple[float, ...]]] = {
    "jpeg": (jpeg, (25, 18, 15, 10, 7)),
    "gaussian_noise": (gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "gaussian_blur": (gaussian_blur, (1, 2, 3, 4, 6)),
    "pixelate": (pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "contrast": (contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": (brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
}


@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_pixels_are_those_of_imagenet_c(kind: str, severity: int, photo: RgbImage) -> None:
    reference, settings = PUBLISHED[kind]
    image = photo[:71, :93].copy()
    image[:4] = 0
    got = imagenet_c(kind, severity)(image, np.random.RandomState(3))
    want = reference(image, settings[severity - 1], np.random.RandomState(3))
    np.testing.assert_allclose(got.astype(int), want, atol=1)  # one grey level of rounding


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Jpeg(quality=0), "from 1 to 95, got 0"),
        (lambda: GaussianNoise(deviation=0), "over 0"),
        (lambda: GaussianBlur(deviation=51), "at most 50"),
        (lambda: Pixelate(scale=1), "got 1"),
        (lambda: Contrast(gain=1), "got 1"),
        (lambda: Brightness(offset=0), "not 0"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()
