"""Every format that Pillow writes, with every type of pixels that it takes."""

from collections.abc import Iterator

from PIL import Image, features

from corpus.case import Case, of_bytes
from corpus.pictures import encoded

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "PA", "I", "I;16", "F")

_READ = {"JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "MPO"} | ({"AVIF"} if features.check("avif") else set())

_ODD_PIXELS = {
    **dict.fromkeys(
        (("TIFF", "I"), ("TIFF", "F"), ("TIFF", "LAB"), ("TIFF", "PA"), ("PPM", "F")), "is not supported|decoded|8-bit"
    ),
    **dict.fromkeys((("AVIF", "RGBa"), ("AVIF", "PA"), ("WEBP", "RGBa"), ("WEBP", "PA")), "every pixel is transparent"),
    ("PPM", "I"): "looks almost black",
}
"""Pixels that are not shown: of more than 16 bits, in other colours, or as Pillow writes them with nothing to see."""


def format_cases() -> Iterator[Case]:
    """Yield a sound file for each format and type of pixels; only the named formats are decoded."""
    Image.init()
    for form in sorted(Image.SAVE):
        for mode in _MODES:
            try:
                data = encoded(form, mode)
            except (OSError, ValueError, KeyError, SystemError, Image.UnidentifiedImageError):
                continue  # Pillow does not write these pixels in this format
            if form not in _READ:
                error: str | None = "is not an image in one of the formats"
            else:
                error = _ODD_PIXELS.get((form, mode))
            yield of_bytes("format", f"{form}-{mode.replace(';', '')}.{form.lower()}", data, error)


def misnamed_cases() -> Iterator[Case]:
    """Yield sound files under the suffix of another format: the content decides."""
    forms = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "GIF": ".gif"}
    for form in forms:
        data = encoded(form)
        for other, suffix in forms.items():
            if other != form:
                yield of_bytes("misnamed", f"{form}-as{suffix}", data)
    for name in ("NOSUFFIX", "two.suffixes.old", "UPPER.JPG", ".hidden", "jpg"):
        yield of_bytes("misnamed", name, encoded("PNG"))
