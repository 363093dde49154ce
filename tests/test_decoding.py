"""Every kind of picture is what viewers show, as other decoders read it, or is refused in one line."""

import io
import re
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from qdebias.errors import DamagedImageError, ImageError
from qdebias.image import RgbImage, load_image
from qdebias.image.decoding import FORMATS, decode, open_picture
from qdebias.inputs.folders import kind_of

SIDE = 64


@pytest.fixture
def grey(photo: RgbImage) -> np.ndarray:
    return np.ascontiguousarray(photo[:SIDE, : SIDE + 1, 1])


def scaled(eight: np.ndarray, bits: int) -> np.ndarray:
    """Return 8-bit samples in `bits` bits."""
    return (eight.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16 if bits > 8 else np.uint8)


def shown(path: Path, bits: int, *, white_is_zero: bool = False) -> np.ndarray:
    """Return what `tifffile` reads, in 8 bits."""
    samples = tifffile.imread(path).astype(np.uint32) * 255 // (2**bits - 1)
    return (255 - samples if white_is_zero else samples).astype(np.uint8)


def same(got: np.ndarray, want: np.ndarray) -> bool:
    return bool(np.abs(got.astype(int) - (want if want.ndim == 3 else np.dstack([want] * 3))).max() <= 1)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 16}, {"tile": (32, 32)}], ids=["one", "strips", "tiles"])
@pytest.mark.parametrize("kind", ["minisblack", "miniswhite", "rgb", "rgb apart"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_is_what_tifffile_reads_or_refused(
    bits: int,
    kind: str,
    layout: dict[str, Any],
    byteorder: str,
    compression: str | None,
    photo: RgbImage,
    tmp_path: Path,
) -> None:
    samples = scaled(photo[:SIDE, :SIDE] if "rgb" in kind else photo[:SIDE, :SIDE, 0], bits)
    if kind == "rgb apart":
        samples, layout = samples.transpose(2, 0, 1), {"planarconfig": "separate", **layout}
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        samples,
        photometric=kind.split()[0],
        byteorder=byteorder,
        compression=compression,
        metadata=None,
        **layout,
    )
    want = shown(path, bits, white_is_zero=kind == "miniswhite")
    try:
        got = load_image(path)
    except ImageError as error:
        got, refusal = None, str(error)
    if got is None:
        assert "not decoded" in refusal
        assert (
            bits == 12
            or (bits, kind, compression) == (16, "rgb apart", None)
            or (kind, byteorder) == ("miniswhite", ">")
        )
    else:
        assert same(got, want.transpose(1, 2, 0) if kind == "rgb apart" else want)


def test_a_packed_grey_tiff_of_12_bits_keeps_its_upper_8(grey: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", scaled(grey, 12), bitspersample=12, photometric="minisblack", metadata=None)
    assert same(load_image(tmp_path / "a.tif"), grey)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("kind", ["minisblack", "miniswhite", "rgb"])
def test_other_packed_tiffs_of_more_than_8_bits_are_refused(
    bits: int, kind: str, photo: RgbImage, tmp_path: Path
) -> None:
    samples = scaled(photo if kind == "rgb" else photo[..., 0], bits)
    tifffile.imwrite(tmp_path / "a.tif", samples, bitspersample=bits, photometric=kind, metadata=None, byteorder=">")
    with pytest.raises(ImageError, match="a kind of TIFF that is not decoded"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("largest", "tags"),
    [(1023, []), (4095, []), (16383, []), (65535, [(281, "H", 1, 4095, True)]), (65535, [(341, "H", 1, 1023, True)])],
)
def test_fewer_bits_in_16_that_would_look_black_are_refused(
    largest: int, tags: list[Any], grey: np.ndarray, tmp_path: Path
) -> None:
    samples = (grey.astype(np.uint32) * largest // 255).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", metadata=None, extratags=tags)
    with pytest.raises(ImageError, match="looks almost black"):
        load_image(tmp_path / "a.tif")
    if not tags:
        for suffix in ("png", "pgm"):
            Image.fromarray(samples).save(tmp_path / f"a.{suffix}")
            with pytest.raises(ImageError, match="looks almost black"):
                load_image(tmp_path / f"a.{suffix}")


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Return a PNG with a chunk more behind its header."""
    body = kind + data
    return png[:33] + len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") + png[33:]


def test_a_dark_picture_is_scored_where_its_file_says_that_it_has_16_bits(grey: np.ndarray, tmp_path: Path) -> None:
    samples = (grey.astype(np.uint32) * 8000 // 255).astype(np.uint16)
    tags = [(281, "H", 1, 65535, True)]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", metadata=None, extratags=tags)
    assert same(load_image(tmp_path / "a.tif"), (samples >> 8).astype(np.uint8))
    out = io.BytesIO()
    Image.fromarray(samples).save(out, "PNG")
    assert same(load_image(with_chunk(out.getvalue(), b"sBIT", b"\x10")), (samples >> 8).astype(np.uint8))
    for data in (out.getvalue(), with_chunk(out.getvalue(), b"sBIT", b"\x0c")):
        with pytest.raises(ImageError, match="if it is meant to be dark, save it with 8 bits per channel"):
            load_image(data)
    dark = (samples // 16).astype(">u2")  # up to 500 of 4095, which the file states
    pgm = b"P5\n%d %d\n4095\n" % grey.shape[::-1] + dark.tobytes()
    assert same(load_image(pgm), ((dark.astype(np.uint32) * 65535 + 2047) // 4095 >> 8).astype(np.uint8))
    with pytest.raises(ImageError, match="looks almost black"):
        load_image(Image.fromarray(samples))


def test_a_largest_value_that_only_describes_the_picture_changes_nothing(grey: np.ndarray, tmp_path: Path) -> None:
    samples = scaled(grey, 16) // 2
    tags = [(281, "H", 1, int(samples.max()), True)]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", metadata=None, extratags=tags)
    assert same(load_image(tmp_path / "a.tif"), (samples >> 8).astype(np.uint8))


def test_a_tiff_that_lists_too_few_strips_is_refused(photo: RgbImage, tmp_path: Path) -> None:
    """Pillow leaves the rest black."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, photo, photometric="rgb", metadata=None, rowsperstrip=photo.shape[0] // 2)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["StripOffsets"].overwrite([file.pages[0].dataoffsets[0]])
    with pytest.raises(ImageError, match="lists fewer strips or tiles than it has"):
        load_image(path)


def test_a_jpeg_is_looked_at_in_full_size(photo: RgbImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaled, simplejpeg 1.9 writes beyond its memory where libjpeg does not scale: in lossless files."""
    found: dict[str, Any] = {}
    monkeypatch.setattr("simplejpeg.decode_jpeg", lambda *_, **options: found.update(options))
    load_image(jpeg(photo))
    assert found
    assert not {"min_height", "min_width", "min_factor"} & set(found)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint32, np.int32, np.float16, np.float32, np.float64])
def test_a_tiff_of_other_numbers_is_refused(kind: type, grey: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", grey.astype(kind), photometric="minisblack", metadata=None)
    with pytest.raises(ImageError, match=r"not decoded|not supported"):
        load_image(tmp_path / "a.tif")


def png(width: int, height: int, bits: int, colour: int, rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG; `rows` are the packed bytes of each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = zlib.compress(np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes())
    middle = b"".join(chunk(*one) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("bits", "high"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (2, 0xFF), (4, 0xFF), (8, 0xFF)])
def test_the_transparent_grey_of_a_png_is_white_at_every_depth(bits: int, high: int, grey: np.ndarray) -> None:
    """What the key has beyond the depth of the samples does not count."""
    grey = grey[:, :SIDE]
    samples = grey.astype(np.uint16) * 257 if bits == 16 else grey >> (8 - bits)
    key = int(samples[0, 0])
    packed = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(*samples.shape, 2), axis=2)[..., 16 - bits :]
    rows = np.packbits(packed.reshape(SIDE, -1), axis=1)
    stored = (high << 8 & ~(2**bits - 1) | key) & 0xFFFF
    data = png(SIDE, SIDE, bits, 0, rows, (b"sBIT", b"\1"), (b"tRNS", struct.pack(">H", stored)))
    read = imagecodecs.png_decode(png(SIDE, SIDE, bits, 0, rows)).astype(np.uint32)  # 1, 2 and 4 bits become 8
    want = (read >> 8 if bits == 16 else read).astype(np.uint8)
    want[samples == key] = 255
    assert same(load_image(data), want)


def test_the_transparent_colour_of_a_png_is_white_or_the_image_refused(photo: RgbImage) -> None:
    image = photo[:SIDE, :SIDE]
    key = struct.pack(">HHH", *image[5, 7])
    want = np.where((image == image[5, 7]).all(-1)[..., None], 255, image)
    assert same(load_image(png(SIDE, SIDE, 8, 2, image.reshape(SIDE, -1), (b"tRNS", key))), want)
    deep = np.repeat(image.reshape(SIDE, -1), 2, axis=1)
    assert same(load_image(png(SIDE, SIDE, 16, 2, deep)), image)
    with pytest.raises(ImageError, match="16-bit colours of which one is transparent"):
        load_image(png(SIDE, SIDE, 16, 2, deep, (b"tRNS", key)))


def test_a_picture_of_which_nothing_is_visible_is_refused(photo: RgbImage, tmp_path: Path) -> None:
    Image.fromarray(np.dstack([photo, np.zeros_like(photo[..., 0])])).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="every pixel is transparent"):
        load_image(tmp_path / "a.png")


def jpeg(photo: RgbImage, *, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.tile(photo, (3, 3, 1))).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


KINDS: list[dict[str, Any]] = [
    {},
    {"progressive": True},
    {"restart_marker_blocks": 4},
    {"progressive": True, "restart_marker_blocks": 4},
    {"quality": 95, "subsampling": 0},
    {"mode": "L"},
    {"mode": "CMYK", "progressive": True},
]
END = b"\xff\xd9"


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_jpeg_that_ends_early_is_refused_wherever_it_ends(options: dict[str, Any], photo: RgbImage) -> None:
    """Pillow fills what is missing with grey, or leaves it coarse, without an error."""
    sound = jpeg(photo, **options)
    start = sound.index(b"\xff\xda") + 20
    scans = [found.start() for found in re.finditer(b"\xff\xda", sound)][1:]
    for place in [*range(start, len(sound) - 40, (len(sound) - start) // 20), *scans]:
        zeros = bytes(len(sound) - place - 2)
        for data in (sound[:place] + END, sound[:place], sound[:place] + zeros + END, sound[:place] + zeros):
            with pytest.raises(DamagedImageError, match="damaged or truncated"):
                load_image(data)
        with pytest.raises(DamagedImageError):
            load_image(Image.open(io.BytesIO(sound[:place] + END)))


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_jpeg_with_a_hole_or_a_divisor_of_0_is_refused(options: dict[str, Any], photo: RgbImage) -> None:
    sound = jpeg(photo, **options)
    middle, table = len(sound) // 2, sound.index(b"\xff\xdb") + 5
    assert load_image(sound).shape[2] == 3
    for data in (
        sound[:middle] + b"\xff" * 200 + sound[middle + 200 :],
        sound[:middle] + bytes(1000) + sound[middle + 1000 :],
        sound[:table] + b"\0" + sound[table + 1 :],
    ):
        with pytest.raises(DamagedImageError, match="damaged or truncated"):
            load_image(data)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_harmless_bytes_in_a_jpeg_are_no_damage(options: dict[str, Any], photo: RgbImage) -> None:
    sound = jpeg(photo, **options)
    want = load_image(sound)
    at = sound.index(b"\xff\xdb")
    for data in (
        sound + bytes(5000),  # behind the end, as phones put films there
        sound[:-2] + bytes(3) + sound[-2:],
        sound[:-2] + b"\xff" * 9 + sound[-2:],
        sound[:at] + b"\0\0" + sound[at:],
        sound.replace(b"JFIF\0\1\1", b"JFIF\0\3\1"),
        sound[:2] + b"\xff\xe2\0\x12ICC_PROFILE\0\7\1ab" + sound[2:],
    ):
        np.testing.assert_array_equal(load_image(data), want)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        *(("PNG", {}), ("AVIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {"compression": "tiff_lzw"})),
        *(("TIFF", {"compression": "tiff_adobe_deflate"}), ("TIFF", {"compression": "jpeg"}), ("GIF", {})),
    ],
    ids=str,
)
def test_other_formats_whose_data_are_zeros_to_the_end_are_refused(
    form: str, options: dict[str, Any], photo: RgbImage
) -> None:
    """As a download leaves them that was interrupted and whose place had been reserved."""
    out = io.BytesIO()
    Image.fromarray(np.tile(photo, (3, 3, 1))).save(out, form, **options)
    sound = out.getvalue()
    for place in range(len(sound) // 10, len(sound) - 100, len(sound) // 10):
        with pytest.raises(ImageError):
            load_image(sound[:place] + bytes(len(sound) - place))


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
@pytest.mark.parametrize("colour", ["white", "black", "#78828c"])
def test_a_picture_of_one_colour_is_no_damage(colour: str, form: str) -> None:
    """Data of lossy WebP end in thousands of zeros then."""
    for options in ({"quality": 100, "method": 0}, {"quality": 60}, {"lossless": True}):
        out = io.BytesIO()
        Image.new("RGB", (800, 600), colour).save(out, form, **options if form == "WEBP" else {})
        assert load_image(out.getvalue()).shape == (600, 800, 3)


ODD_TAGS = {
    "text": struct.pack("<HHI4s", 0x011A, 2, 3, b"72\0\0"),
    "negative": struct.pack("<HHIhh", 0x0128, 8, 1, -1, 0),
    "unknown type": struct.pack("<HHII", 0x9C9B, 99, 1, 0),
    "far away": struct.pack("<HHII", 0x010F, 2, 400, 1 << 30),
    "a block that is none": struct.pack("<HHII", 0x8825, 4, 1, 1 << 20),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the tags
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("odd", ODD_TAGS)
def test_odd_tags_neither_end_a_run_nor_hide_the_orientation(form: str, odd: str, photo: RgbImage) -> None:
    entries = sorted([struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), ODD_TAGS[odd]])
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(entries) + bytes(4)
    out = io.BytesIO()
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(photo)))
    options = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}[form]
    stored.save(out, form, exif=exif, **options)
    got = load_image(out.getvalue())
    assert got.shape == photo.shape
    assert np.abs(got.astype(int) - photo).mean() < (12 if form == "JPEG" else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_with_odd_tags_is_turned(orientation: int, photo: RgbImage) -> None:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation  # stored as a property of the picture, beside the tags
    exif[0x0128] = 2
    Image.fromarray(photo).save(out, "AVIF", exif=exif, quality=95)
    sound, tag = out.getvalue(), struct.pack(">HHI", 0x0128, 3, 1)
    assert tag in sound
    odd = sound.replace(tag + b"\0\2", struct.pack(">HHIh", 0x0128, 8, 1, -1))
    with Image.open(io.BytesIO(sound)) as picture:
        want = np.asarray(ImageOps.exif_transpose(picture))
    for data in (sound, odd):
        np.testing.assert_array_equal(load_image(data), want)


def test_a_turned_tiff_with_odd_tags_is_turned(photo: RgbImage, tmp_path: Path) -> None:
    for number, compression in enumerate((None, "zlib")):
        path = tmp_path / f"{number}.tif"
        tags = [(274, "H", 1, 6, True), (305, "h", 1, -1, True), (315, "d", 1, -0.5, True)]
        stored = np.ascontiguousarray(np.rot90(photo))
        tifffile.imwrite(path, stored, photometric="rgb", compression=compression, metadata=None, extratags=tags)
        np.testing.assert_array_equal(load_image(path), photo)


def test_the_limit_of_pixels_is_the_only_one_and_no_global_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    Image.new("L", (300, 200), 90).save(out, "TIFF")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow would refuse beyond 200
    found: list[RgbImage] = []
    threads = [threading.Thread(target=lambda: found.append(load_image(out.getvalue()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.shape for one in found] == [(200, 300, 3)] * 4
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("was_a_jpeg", [False, True])
def test_a_jpeg_xl_that_its_decoder_has_turned_is_not_turned_again(*, was_a_jpeg: bool) -> None:
    """Its plugin gives the EXIF data beside turned pixels; beside those of a JPEG as it was, which are not turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (64, 32))
    picture.format, picture.info["exif"], picture.jpeg = "JXL", exif.tobytes(), was_a_jpeg  # type: ignore[attr-defined]
    assert decode(picture, "a").shape == ((64, 32, 3) if was_a_jpeg else (32, 64, 3))


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", r"HEIF is decoded by a separate package: pip install \"qdebias\[formats\]\""),
        (b"\xff\x0a\0\0", "JXL is decoded by a separate package: pip install pillow-jxl-plugin"),
    ],
)
def test_formats_that_need_a_package_name_it(start: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("qdebias.image.decoding.import_module", absent)
    with pytest.raises(ImageError, match=words):
        open_picture(io.BytesIO(start + bytes(200)), "a", FORMATS)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_of_all_colours_are_what_libjpeg_decodes(mode: str, photo: RgbImage) -> None:
    out = io.BytesIO()
    Image.fromarray(photo).convert(mode).save(out, "JPEG", quality=95)
    raw = imagecodecs.jpeg8_decode(out.getvalue())
    if mode == "CMYK":  # stored inverted, as Adobe does
        raw = (raw[..., :3].astype(float) * raw[..., 3:] / 255).round().astype(np.uint8)
    assert same(load_image(out.getvalue()), raw)


@pytest.mark.parametrize("largest", [1, 15, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P2", b"P3", b"P5", b"P6"])
def test_the_largest_value_of_a_ppm_is_white(magic: bytes, largest: int, photo: RgbImage) -> None:
    image = photo[:SIDE, :SIDE] if magic in (b"P3", b"P6") else photo[:SIDE, :SIDE, 0]
    samples = (image.astype(np.uint32) * largest // 255).astype(np.uint16)
    write: Callable[[], bytes] = {
        True: lambda: " ".join(map(str, samples.ravel())).encode(),
        False: lambda: samples.astype(">u2" if largest > 255 else np.uint8).tobytes(),
    }[magic in (b"P2", b"P3")]
    data = magic + b"\n%d %d\n%d\n" % (SIDE, SIDE, largest) + write()
    assert same(load_image(data), (samples.astype(np.uint32) * 255 // largest).astype(np.uint8))


@pytest.mark.parametrize("name", ["a.jpe", "a.JFIF", "a.heic", "a.heif", "a.hif", "a.jxl"])
def test_a_search_takes_less_usual_suffixes_for_images(name: str) -> None:
    assert kind_of(name) == "image"
