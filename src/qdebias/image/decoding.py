"""Encoded images become uint8 RGB: opened by content, checked for damage, turned upright, converted.

Pillow decodes. What it decodes wrongly without an error is refused here; tests compare every kind of TIFF and PNG that
is accepted with `tifffile` and `imagecodecs`.
"""

import struct
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, Image, TiffImagePlugin
from PIL.ImageFile import ImageFile

from qdebias.errors import DamagedImageError, ImageError
from qdebias.image.damage import can_be_scaled, damage, png_chunks

for _plugin_name in ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "WebP"):
    import_module(f"PIL.{_plugin_name}ImagePlugin")  # enters itself in Image.OPEN

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "HEIF", "JXL")
"""The formats that are decoded, recognised by content and not by name. Others are refused: rarely used decoders are
where memory errors live."""

OF_PILLOW = (
    *(OSError, EOFError, SyntaxError, ValueError, ArithmeticError, LookupError, RuntimeError, struct.error),
    *(TypeError, AttributeError, AssertionError, Image.DecompressionBombError, Warning),
)
"""What Pillow raises for damaged files and odd tags; warnings only where they are turned into errors."""

_PLUGINS = {
    "HEIF": ("pi_heif", 'pip install "qdebias[formats]"'),
    "JXL": ("pillow_jxl", "pip install pillow-jxl-plugin"),
}
"""Decoders in separate packages: the module, and how to install it."""

_JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ALPHA_MODES = frozenset(("RGBA", "LA", "PA", "RGBa", "La", "RGBX"))
_DIRECT_MODES = frozenset(("RGB", "L", "P", "CMYK", "YCbCr", "1"))
_DEPTHS = {"1": 1, "L;2": 2, "L;4": 4}


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF whose orientation is left to `decode`, and the size to its caller.

    Pillow's own class writes all tags again when it turns the pixels, which fails on odd ones.
    """

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # type: ignore[attr-defined]
        ImageFile.load_prepare(self)

    def load_end(self) -> None:
        self._size = self._tile_size


class _Avif(AvifImagePlugin.AvifImageFile):
    """An AVIF whose other tags may be odd: Pillow writes them all again to note the orientation."""

    def _open(self) -> None:
        try:
            super()._open()
        except OF_PILLOW:
            if not hasattr(self, "_mode"):  # it is no AVIF
                raise
            exif = Image.Exif()
            exif[0x0112] = self._decoder.get_info()[5]
            self.info["exif"] = exif.tobytes()
            self.seek(0)


def open_picture(file: BinaryIO, name: str, formats: tuple[str, ...] = FORMATS) -> ImageFile:
    """Open the encoded image called `name` by its content; no pixel is decoded.

    Pillow's `Image.open` is not used: its limit of 179 megapixels is global.
    """
    prefix, faults = file.read(16), []
    for kind in formats:
        accepts, factory = _plugin(kind, prefix)
        if not accepts:
            continue
        if factory is None:
            faults.append(f"{kind} is decoded by a separate package: {_PLUGINS[kind][1]}; or save it as PNG")
            continue
        file.seek(0)
        try:
            return factory(file, "")  # type: ignore[no-any-return]
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            words = error if isinstance(error, SyntaxError) else "its header ends early"
            faults.append(f"damaged or truncated, or a kind of {kind} that is not decoded ({words}); save it as PNG")
    raise ImageError(
        f"{name}: {faults[-1] if faults else 'is not an image in one of the formats ' + ', '.join(formats)}"
    )


def begins_image(prefix: bytes) -> bool:
    """Whether a file that begins with these bytes, 16 or more, is of a format in `FORMATS`."""
    return any(_plugin(kind, prefix[:16])[0] for kind in FORMATS)


def _plugin(name: str, prefix: bytes) -> tuple[bool, Any]:
    """Return whether a format begins with `prefix`, and the class that opens it; None if that is not installed."""
    if name in _PLUGINS:
        brand = prefix[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
        if not (prefix.startswith(_JXL) if name == "JXL" else prefix[4:8] == b"ftyp" and brand):
            return False, None
        try:
            package = import_module(_PLUGINS[name][0])
        except ImportError:
            return True, None
        return True, package.HeifImageFile if name == "HEIF" else Image.OPEN[name][0]
    factory, accept = Image.OPEN[name]
    return accept is not None and accept(prefix) is True, {"TIFF": _Tiff, "AVIF": _Avif}.get(name, factory)


def decode(picture: Image.Image, name: str, *, side: int | None = None) -> npt.NDArray[np.uint8]:
    """Return the pixels of an opened image, of which nothing is decoded yet, upright: uint8 (H, W, 3).

    With `side`, a JPEG is decoded at the smallest of its scales that has so many pixels a side, and not searched for
    damage.
    """
    scaled = side is not None and can_be_scaled(picture)
    if side is not None and scaled:
        picture.draft(None, (side, side))
    raw = str(picture.tile[0].args) if isinstance(picture, ImageFile) and picture.tile else ""
    if fault := _unshown(picture, raw):
        raise ImageError(f"{name}: {fault}; save it as PNG or TIFF with 8 bits per channel, as it should be seen")
    low_is_odd = _has_unstated_range(picture, raw)
    wrong = None if scaled else damage(picture)
    if wrong is not None:
        raise DamagedImageError(f"{name}: damaged or truncated ({wrong}); get an intact copy")
    _decode_whole(picture, name)
    turn = _TURNS.get(_orientation(picture) or 1)  # after the pixels: in a PNG it may stand behind them
    upright = _to_rgb(picture, raw, name)
    if low_is_odd and picture.mode != "CMYK":
        deep = picture.mode.startswith("I")
        largest = int(np.asarray(picture if deep else picture.convert("RGB")).max()) * (1 if deep else 256)
        if largest < 2**14:
            raise ImageError(
                f"{name}: has 16 bits, of which none above {largest} is used, and looks almost black; if it is of 10 "
                f"to 14 bits, multiply its values; if it is meant to be dark, save it with 8 bits per channel"
            )
    return np.asarray(upright if turn is None else upright.transpose(turn))


def _orientation(picture: Image.Image) -> int | None:
    """Return 1 to 8, read by itself, as other tags may be odd; None (nothing is turned) where it cannot be read."""
    with suppress(*OF_PILLOW):
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            found = picture.tag_v2.get(0x0112)
            return found if isinstance(found, int) else None
        if picture.format == "JXL" and not getattr(picture, "jpeg", False):
            return None  # its decoder has turned it by the header of the picture, which goes before EXIF
        block = picture.info.get("exif") or b""
        if not block:  # hexadecimal digits after three lines, of a PNG as ImageMagick writes it
            block = bytes.fromhex("".join(picture.info["Raw profile type exif"].split("\n")[3:]))
        while block.startswith(b"Exif\0\0"):
            block = block[6:]
        order = {b"II": "<", b"MM": ">"}[block[:2]]
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", block, place)
            if tag == 0x0112 and values == 1:
                return int(struct.unpack_from(order + {1: "B", 3: "H", 4: "I"}[kind], block, place + 8)[0])
    return None


def _unshown(picture: Image.Image, raw: str) -> str | None:
    """Return why Pillow would give other pixels than viewers show, or None."""
    if picture.format == "PNG" and ";16" in raw and picture.mode == "RGB" and "transparency" in picture.info:
        return "16-bit colours of which one is transparent are not decoded"
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return None
    tags = picture.tag_v2
    bits, kind, samples = max(tags.get(258, (1,))), tags.get(262), tags.get(277, 1)
    limits = [max(_numbers(tags, tag), default=2**bits) for tag in (281, 341)]
    if kind not in (0, 1, 2, 3, 5, 6):
        return f"TIFF of colour space {kind} is not decoded"
    if set(tags.get(339, (1,))) - {1, 4}:
        return "TIFF of signed or floating-point numbers is not decoded"
    if tags.get(284) == 2 and samples > 1 and (kind < 2 or (bits > 8 and picture.info.get("compression") == "raw")):
        return f"TIFF of {bits} bits with channels apart is not decoded"
    if kind == 5 and tags.get(332, 1) != 1:
        return "TIFF of inks other than CMYK is not decoded"
    if kind == 3 and max(tags.get(320, (0,))) < 256:
        return "the palette of this TIFF holds 8-bit colours where 16 belong"
    width, height, tiled = int(tags[256]), int(tags[257]), 324 in tags
    across, down = (tags.get(322), tags.get(323)) if tiled else (width, tags.get(278, height))
    parts = -(-width // across) * -(-height // down) * (samples if tags.get(284) == 2 else 1) if across and down else 0
    if len(_numbers(tags, 324 if tiled else 273)) < parts:
        return "this TIFF lists fewer strips or tiles than it has"
    if min(limits) < 2**bits // 4:
        return f"TIFF of {bits} bits whose largest value is {min(limits)} by its header looks almost black"
    return None


def _numbers(tags: Any, tag: int) -> list[float]:  # noqa: ANN401
    values = tags.get(tag, ())
    return [value for value in (values if isinstance(values, tuple) else (values,)) if isinstance(value, int | float)]


def _decode_whole(picture: Image.Image, name: str) -> None:
    """Decode the pixels; where compressed data ends early without an error, Pillow would leave the rest black.

    Two rows of noise stand at the end of the memory that is decoded into. Where one is still there, nothing was
    decoded that far: into the last row, or, of an interlaced PNG, the last row but one.
    """
    if not isinstance(picture, ImageFile) or picture.format != "PNG" or not picture.tile:  # nothing is left to decode
        picture.load()
        return
    width, height = picture.size
    marker = Image.frombytes(picture.mode, (width, 2), np.random.default_rng(0).bytes(16 * width))
    prepared = Image.new(picture.mode, picture.size, None)
    prepared.paste(marker, (0, height - 2))
    picture.im = prepared.im
    picture.load()
    for row in (1, 2):
        left = picture.crop((0, height - row, width, height - row + 1)).tobytes()
        if left == marker.crop((0, 2 - row, width, 3 - row)).tobytes():
            raise DamagedImageError(
                f"{name}: damaged or truncated (its data ends before its last row); get an intact copy"
            )
    if picture.mode == "P" and picture.palette is None:
        raise DamagedImageError(f"{name}: damaged or truncated (its palette is absent); get an intact copy")


def _to_rgb(picture: Image.Image, raw: str, name: str) -> Image.Image:
    key = picture.info.get("transparency")
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        grey = np.asarray(picture)
        tags = getattr(picture, "tag_v2", {})
        upper = (grey >> (4 if tags.get(258) == (12,) else 8)).astype(np.uint8)  # some TIFFs have 12 bits
        shown = Image.fromarray(~upper if tags.get(262) == 0 else upper).convert("RGB")
        return shown if key is None else _key_to_white(shown, grey, key, bits=16)
    if picture.mode in _ALPHA_MODES or (picture.mode == "P" and key is not None):
        layer = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        if layer.getchannel("A").getextrema()[1] == 0:
            raise ImageError(f"{name}: every pixel is transparent; save it without transparency")
        shown = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    elif picture.mode in _DIRECT_MODES:
        shown = picture.convert("RGB")
        if key is not None:
            shown = _key_to_white(shown, np.asarray(picture), key, bits=_DEPTHS.get(raw, 8))
    else:
        raise ImageError(f"{name}: pixel type {picture.mode} is not supported; save it with 8 or 16 bits per channel")
    return shown


def _key_to_white(shown: Image.Image, samples: npt.NDArray[Any], key: Any, *, bits: int) -> Image.Image:  # noqa: ANN401
    """Lay the one transparent value of a PNG over white; `key` has `bits` bits, the samples 8 or 16."""
    wanted = (np.asarray(key) & (2**bits - 1)) * (255 // (2**bits - 1) if 1 < bits < 8 else 1)
    same = samples == wanted
    pixels = np.array(shown)
    pixels[same.all(-1) if same.ndim == 3 else same] = 255
    return Image.fromarray(pixels)


def _has_unstated_range(picture: Image.Image, raw: str) -> bool:
    """Whether a picture was stored in 16 bits (of a PGM, Pillow scales fewer) and not declared to use all of them."""
    tags = getattr(picture, "tag_v2", {})
    if not (";16" in raw or picture.mode.startswith("I;16")) or tags.get(258) == (12,):
        return False
    if picture.format == "PNG" and isinstance(picture, ImageFile) and picture.fp is not None:
        for kind, length in png_chunks(picture.fp):
            if kind in (b"sBIT", b"IDAT"):
                return kind == b"IDAT" or min(picture.fp.read(4)[:length], default=0) != 16
    return not (281 in tags or 341 in tags)  # a low one was refused before
