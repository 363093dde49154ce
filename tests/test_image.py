"""Files become pixels, or one clear error."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from qdebias.errors import ImageError
from qdebias.image import MIN_SIDE, RgbImage, digest, load_image


def png_that_declares(width: int, height: int) -> bytes:
    """Return a PNG whose header declares a size that its data does not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_a_png_comes_back_pixel_for_pixel(photo: RgbImage, tmp_path: Path) -> None:
    path = saved(Image.fromarray(photo), tmp_path / "photo.png")
    np.testing.assert_array_equal(load_image(path), photo)
    np.testing.assert_array_equal(load_image(str(path)), photo)


def test_images_in_memory_are_taken_as_they_are(photo: RgbImage) -> None:
    np.testing.assert_array_equal(load_image(photo), photo)
    np.testing.assert_array_equal(load_image(Image.fromarray(photo)), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, photo: RgbImage, tmp_path: Path) -> None:
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](photo)))
    path = saved(stored, tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load_image(path), photo)


def test_grey_palette_and_bilevel_become_rgb(photo: RgbImage, tmp_path: Path) -> None:
    picture = Image.fromarray(photo)
    for mode in ("L", "P", "1"):
        path = saved(picture.convert(mode), tmp_path / f"{mode}.png")
        np.testing.assert_array_equal(load_image(path), np.asarray(picture.convert(mode).convert("RGB")))


def test_cmyk_jpeg_becomes_rgb(photo: RgbImage, tmp_path: Path) -> None:
    path = saved(Image.fromarray(photo).convert("CMYK"), tmp_path / "print.jpg", quality=100, subsampling=0)
    difference = np.abs(load_image(path).astype(int) - photo)
    assert difference.mean() < 4


def test_sixteen_bit_grey_keeps_its_upper_eight_bits(tmp_path: Path) -> None:
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    path = saved(Image.fromarray(deep), tmp_path / "deep.png")
    np.testing.assert_array_equal(load_image(path)[..., 1], deep >> 8)


def test_sixteen_bit_pgm_keeps_its_upper_eight_bits(tmp_path: Path) -> None:
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    path = saved(Image.fromarray(deep), tmp_path / "deep.pgm")
    np.testing.assert_array_equal(load_image(path)[..., 1], deep >> 8)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"])
def test_a_png_whose_data_ends_early_without_an_error_is_refused(mode: str, tmp_path: Path) -> None:
    """A complete stream of too few rows: Pillow alone leaves the others black."""
    plain = Image.fromarray(np.full((64, 64), 40_000, np.uint16)) if mode == "I;16" else Image.new("L", (64, 64), 40)
    path = saved(plain.convert(mode), tmp_path / "short.png")
    load_image(path)
    whole = path.read_bytes()
    start, end = whole.index(b"IDAT"), whole.index(b"IEND") - 4
    rows = zlib.decompress(whole[start + 4 : end - 4])
    for size in (len(rows) // 2, len(rows) * 63 // 64):
        body = b"IDAT" + zlib.compress(rows[:size])
        path.write_bytes(
            whole[: start - 4]
            + struct.pack(">I", len(body) - 4)
            + body
            + struct.pack(">I", zlib.crc32(body))
            + whole[end:]
        )
        with pytest.raises(ImageError, match=r"short.png: damaged or truncated .its data ends before its last row"):
            load_image(path)


def test_indexed_colours_without_a_palette_are_refused(tmp_path: Path) -> None:
    path = saved(Image.new("P", (64, 64)), tmp_path / "colourless.png")
    whole = path.read_bytes()
    start = whole.index(b"PLTE") - 4
    path.write_bytes(whole[:start] + whole[start + 12 + int.from_bytes(whole[start : start + 4], "big") :])
    with pytest.raises(ImageError, match="its palette is absent"):
        load_image(path)


def test_exif_that_cannot_be_read_does_not_concern_the_pixels(photo: RgbImage, tmp_path: Path) -> None:
    path = saved(Image.fromarray(photo), tmp_path / "odd.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(load_image(path), photo)


def test_what_the_operating_system_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(ImageError, match=r"loop.png: cannot be read \(Too many levels of symbolic links\)"):
        load_image(tmp_path / "loop.png")
    with pytest.raises(ImageError, match=r"cannot be read \(File name too long\)"):
        load_image(tmp_path / ("x" * 5000))


def test_transparency_is_laid_over_white(photo: RgbImage, tmp_path: Path) -> None:
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:20] = 0
    path = saved(Image.fromarray(np.dstack([photo, alpha])), tmp_path / "layer.png")
    got = load_image(path)
    assert (got[:20] == 255).all()
    np.testing.assert_array_equal(got[20:], photo[20:])


def test_palette_with_transparency_is_laid_over_white(photo: RgbImage, tmp_path: Path) -> None:
    picture = Image.fromarray(photo).quantize(16)
    path = saved(picture, tmp_path / "layer.png", transparency=int(np.asarray(picture)[0, 0]))
    assert (load_image(path)[0, 0] == 255).all()


def test_frames_are_not_counted(photo: RgbImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To count 100,000 pages of a TIFF takes a minute (Pillow 13.0); a harmless one of three is enough to see that."""
    pages = [Image.fromarray(photo)] * 3
    path = saved(pages[0], tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    monkeypatch.setattr(TiffImageFile, "n_frames", property(lambda _: pytest.fail("the pages are counted")))
    with pytest.raises(ImageError, match="holds several frames"):
        load_image(path)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_several_frames_are_refused(suffix: str, photo: RgbImage, tmp_path: Path) -> None:
    frames = [Image.fromarray(photo), Image.fromarray(255 - photo)]
    path = saved(frames[0], tmp_path / f"film.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=rf"film.{suffix}: holds several frames; extract"):
        load_image(path)


def test_one_frame_gif_and_the_first_picture_of_an_mpo_are_taken(photo: RgbImage, tmp_path: Path) -> None:
    assert load_image(saved(Image.fromarray(photo), tmp_path / "still.gif")).shape == photo.shape
    path = saved(
        Image.fromarray(photo),
        tmp_path / "camera.jpg",
        format="MPO",
        save_all=True,
        append_images=[Image.fromarray(255 - photo)],
    )
    assert np.abs(load_image(path).astype(int) - photo).mean() < 12


def test_a_truncated_jpeg_names_the_file(photo: RgbImage, tmp_path: Path) -> None:
    memory = io.BytesIO()
    Image.fromarray(photo).save(memory, "JPEG")
    path = tmp_path / "cut.jpg"
    path.write_bytes(memory.getvalue()[: len(memory.getvalue()) // 2])
    with pytest.raises(ImageError, match=r"cut.jpg: damaged or truncated .*; get an intact copy"):
        load_image(path)


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (400, 31)])
def test_tiny_images_are_refused(size: tuple[int, int], tmp_path: Path) -> None:
    path = saved(Image.new("RGB", size), tmp_path / "tiny.png")
    with pytest.raises(ImageError, match=rf"tiny.png: {size[0]} x {size[1]} is too small .* {MIN_SIDE} a side"):
        load_image(path)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((10_000, 6_000), "60 megapixels, more than the limit of 50; make it smaller, or raise --max-megapixels"),
        ((30_000, 30_000), "900 megapixels, more than the limit of 50"),
    ],
)
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int], message: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_that_declares(*size))
    with pytest.raises(ImageError, match=message):
        load_image(path)


def test_the_limit_of_pixels_can_be_set(photo: RgbImage, tmp_path: Path) -> None:
    path = saved(Image.fromarray(photo), tmp_path / "photo.png")
    assert load_image(path, max_pixels=photo.shape[0] * photo.shape[1]).shape == photo.shape
    with pytest.raises(ImageError, match="more than the limit"):
        load_image(path, max_pixels=photo.shape[0] * photo.shape[1] - 1)


def test_text_named_jpg_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "letter.jpg"
    path.write_text("Dear reader,")
    with pytest.raises(ImageError, match=r"letter.jpg: is not an image in one of the formats JPEG"):
        load_image(path)


def test_formats_outside_the_list_are_refused(photo: RgbImage, tmp_path: Path) -> None:
    path = saved(Image.fromarray(photo), tmp_path / "photo.tga")
    with pytest.raises(ImageError, match="is not an image in one of the formats"):
        load_image(path)


def test_missing_paths_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere.jpg: no such file"):
        load_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="is not a file"):
        load_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match=r"pipe.jpg: is not a file"):
        load_image(tmp_path / "pipe.jpg")


def test_an_unreadable_file_says_permission(photo: RgbImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.fromarray(photo), tmp_path / "locked.png")
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything: let the system's refusal come from open() itself

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"locked.png: cannot be read, permission denied"):
        load_image(path)


@pytest.mark.parametrize(
    "array",
    [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float32), np.zeros((64, 64, 4), np.uint8)],
    ids=["grey", "float", "alpha"],
)
def test_other_arrays_are_refused_with_the_remedy(array: RgbImage) -> None:
    with pytest.raises(ImageError, match=r"give uint8 \(height, width, 3\) in RGB order"):
        load_image(array)


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.zeros((64, 64), np.float32)), tmp_path / "float.tiff")
    with pytest.raises(ImageError, match="TIFF of signed or floating-point numbers is not decoded"):
        load_image(path)


def test_the_digest_is_of_pixels_and_shape(photo: RgbImage) -> None:
    assert digest(photo) == digest(photo.copy())
    assert digest(photo) == digest(np.asfortranarray(photo))
    assert digest(photo) != digest(photo[::-1])
    assert digest(np.zeros((64, 32, 3), np.uint8)) != digest(np.zeros((32, 64, 3), np.uint8))


def test_a_png_that_pillow_has_decoded_already_stays_as_it_is(tmp_path: Path, photo: RgbImage) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as picture:
        picture.load()
        np.testing.assert_array_equal(load_image(picture), photo)
        np.testing.assert_array_equal(np.asarray(picture), photo)
