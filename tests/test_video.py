"""Videos: which frames are taken, that their pixels are those that a player shows, and what a video's row says."""

import csv
import json
import sys
from io import BytesIO
from pathlib import Path
from statistics import fmean, pstdev

import av
import numpy as np
import pytest
import scipy.io
from av.video.reformatter import Colorspace, ColorTrc
from PIL import Image
from typer.testing import CliRunner

from qdebias import load_dataset, score
from qdebias.cli.app import app
from qdebias.errors import MissingPackageError, SettingError
from qdebias.image import load_image
from qdebias.inputs import Unreadable, images, open_images
from qdebias.inputs.items import container_kind

RED, GREEN = (200, 30, 40), (20, 180, 60)


def film(path: Path, frames: list[np.ndarray], *, codec: str = "png", pixels: str = "rgb24", **context: object) -> Path:
    """Write a video of 25 frames a second; by default without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        matrix = context.get("colorspace", Colorspace.ITU709)
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if pixels.startswith("yuv"):
                picture = picture.reformat(format=pixels, dst_colorspace=matrix)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def steps(count: int, side: int = 64) -> list[np.ndarray]:
    """Return noise of growing contrast."""
    noise = np.random.default_rng(0).standard_normal((side, side, 3))
    return [np.clip(128 + (2 + 3 * number) * noise, 0, 255).astype(np.uint8) for number in range(count)]


def halves(height: int, width: int) -> np.ndarray:
    """Return a picture that is red on the left and green on the right."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = RED, GREEN
    return picture


def frames_of(path: Path, **options: int) -> dict[str, np.ndarray]:
    return {image.name.rpartition("!")[2]: load_image(image) for image in open_images([str(path)], **options)}


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264rgb"), (".avi", "png")])
def test_frames_are_at_equal_distances_and_keep_their_pixels(tmp_path: Path, suffix: str, codec: str) -> None:
    """The header of an .mkv does not say how many frames there are."""
    pictures = steps(22)
    found = frames_of(film(tmp_path / f"clip{suffix}", pictures, codec=codec, options={"qp": "0"}))
    assert list(found) == [f"{number / 25:.3f}s" for number in (0, 3, 6, 9, 12, 15, 18, 21)]
    for number, pixels in zip((0, 3, 6, 9, 12, 15, 18, 21), found.values(), strict=True):
        np.testing.assert_array_equal(pixels, pictures[number])
    assert list(frames_of(tmp_path / f"clip{suffix}", frames=2)) == ["0.000s", "0.840s"]
    assert len(frames_of(tmp_path / f"clip{suffix}", frames=100)) == 22


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((720, 1280), Colorspace.ITU709),
        ((720, 1280), Colorspace.ITU601),
        ((720, 1280), None),
        ((480, 640), Colorspace.ITU709),
    ],
)
def test_colours_are_those_that_a_player_shows(
    tmp_path: Path, size: tuple[int, int], matrix: Colorspace | None
) -> None:
    context = {} if matrix is None else {"colorspace": matrix}
    path = film(tmp_path / "a.mp4", [halves(*size)] * 2, codec="libx264", pixels="yuv420p", **context)
    for pixels in frames_of(path).values():
        np.testing.assert_allclose(pixels[size[0] // 2, [size[1] // 4, -size[1] // 4]], [RED, GREEN], atol=3)


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    path = film(tmp_path / "phone.mp4", [halves(64, 128)], codec="mpeg4", pixels="yuv420p")
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)  # a quarter to the right, as a phone writes it
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    path.write_bytes(data)
    (pixels,) = frames_of(path).values()
    assert pixels.shape == (128, 64, 3)
    assert pixels[10, 32, 0] > 150 > pixels[-10, 32, 0]


def test_what_is_no_video_is_one_failure(tmp_path: Path) -> None:
    sound = film(tmp_path / "sound.avi", steps(30))
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes(sound.read_bytes()[:100])
    film(tmp_path / "hdr.mkv", [halves(64, 64)], codec="ffv1", pixels="yuv420p10le", color_trc=ColorTrc.SMPTE2084)
    for name, why in (("text.mp4", "no video"), ("cut.mp4", "no video"), ("hdr.mkv", r"HDR \(PQ\)")):
        (found,) = next(iter(open_images([str(tmp_path / name), str(sound)]).pieces()))
        assert isinstance(found, Unreadable)
        with pytest.raises(Exception, match=why):
            found.read()


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "clip.avi", steps(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"qdebias\[video\]"):
        open_images([str(tmp_path / "clip.avi")])


def test_a_video_is_a_row_with_its_mean_and_worst_frame(tmp_path: Path) -> None:
    pictures = steps(8)
    path = film(tmp_path / "clip.avi", pictures)
    (tmp_path / "text.mp4").write_text("no video")
    command = ["score", str(path), str(tmp_path / "text.mp4"), "--model", "fake", "--run", str(tmp_path / "run")]
    for _ in range(2):  # the second from the run folder
        out = tmp_path / "out.csv"
        got = CliRunner().invoke(app, [*command, "--out", str(out)])
        assert got.exit_code == 1
        with out.open() as file:
            row, failed = csv.DictReader(file)
        values = [one.value for one in score(pictures, model="fake")]
        assert float(row["score"]) == pytest.approx(fmean(values))
        assert float(row["frame_deviation"]) == pytest.approx(pstdev(values))
        assert (row["path"], row["frames"]) == (str(path), "8")
        assert float(row["worst"]) == pytest.approx(min(values))
        assert row["worst_frame"] == f"{values.index(min(values)) / 25:.3f}s"
        assert (failed["score"], "no video" in failed["error"]) == ("", True)
    printed = json.loads(CliRunner().invoke(app, [*command, "--json", "--frames", "1"]).stdout.splitlines()[0])
    assert (printed["frames"], printed["score"]) == (1, pytest.approx(values[0]))


def test_a_folder_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a second time to see whether there are videos: a list may be long, or behind an address."""
    Image.fromarray(steps(1)[0]).save(tmp_path / "a.png")
    film(tmp_path / "clip.avi", steps(2))
    searched = []
    found = images.folder_names
    monkeypatch.setattr(images, "folder_names", lambda folder: searched.append(folder) or found(folder))
    got = CliRunner().invoke(app, ["score", str(tmp_path), "--model", "fake", "--json"])
    assert (got.exit_code, len(got.stdout.splitlines()), "frames" in got.stdout) == (0, 1, False)
    assert len(searched) == 2  # whether there is anything, and for the images
    got = CliRunner().invoke(app, ["score", str(tmp_path / "*.avi"), "--model", "fake", "--json"])
    assert json.loads(got.stdout)["frames"] == 2


def test_a_video_with_a_frame_that_fails_has_no_score(tmp_path: Path) -> None:
    film(tmp_path / "narrow.avi", [picture[:20] for picture in steps(3)])
    got = CliRunner().invoke(app, ["score", str(tmp_path / "narrow.avi"), "--model", "fake", "--json"])
    row = json.loads(got.stdout)
    assert (got.exit_code, row["score"]) == (1, None)
    assert "3 of 3 frames could not be scored" in row["error"]
    assert "too small" in row["error"]


def test_frames_shows_a_model_those_of_a_file(tmp_path: Path) -> None:
    film(tmp_path / "clip.avi", steps(9))
    got = CliRunner().invoke(
        app, ["frames", str(tmp_path / "clip.avi"), "--model", "fake", "--method", "vanilla", "--count", "3", "--json"]
    )
    assert (got.exit_code, json.loads(got.stdout)["path"]) == (0, str(tmp_path / "clip.avi"))


@pytest.mark.parametrize("file", ["KoNViD_1k_attributes.csv", "KoNViD_1k_mos.csv"])
def test_konvid(tmp_path: Path, file: str) -> None:
    names = [str(3_000_000_000 + 7 * number) for number in range(1200)]
    column = "MOS" if "attributes" in file else "mos"
    rows = "".join(f"{name},{1 + number % 5}\n" for number, name in enumerate(names))
    (tmp_path / file).write_text(f"flickr_id,{column}\n{rows}")
    (tmp_path / "KoNViD_1k_videos").mkdir()
    for name in names:
        (tmp_path / "KoNViD_1k_videos" / f"{name}.mp4").touch()
    dataset = load_dataset("KoNViD-1k", root=tmp_path)
    assert (len(dataset), dataset.complete, dataset.range) == (1200, True, (1, 5))
    assert dataset.items[6].mos == 2
    assert dataset.paths[6] == tmp_path / "KoNViD_1k_videos" / f"{names[6]}.mp4"
    got = CliRunner().invoke(app, ["evaluate", "konvid1k", "--root", str(tmp_path), "--model", "fake"])
    assert got.exit_code == 2
    assert "qdebias compare scores.csv --mos konvid1k" in got.stderr
    scores = "".join(f"KoNViD_1k_videos/{name}.mp4,{number % 5 / 5}\n" for number, name in enumerate(names))
    (tmp_path / "scores.csv").write_text(f"path,score\n{scores}")
    command = ["compare", str(tmp_path / "scores.csv"), "--mos", "konvid1k", "--root", str(tmp_path)]
    got = CliRunner().invoke(app, [*command, "--json", "--resamples", "0"])
    assert got.exit_code == 0, got.output
    assert json.loads(got.stdout)["methods"][0]["srcc"] == pytest.approx(1)


def test_live_vqc(tmp_path: Path) -> None:
    names = [f"{'ABC'[number % 3]}{number // 3 + 1:03}.mp4" for number in range(585)]
    cells = np.empty((585, 1), dtype=object)
    cells[:, 0] = names
    data = BytesIO()
    scipy.io.savemat(data, {"video_list": cells, "mos": np.linspace(5, 95, 585)[:, None]})
    (tmp_path / "data.mat").write_bytes(data.getvalue())
    dataset = load_dataset("live-vqc", root=tmp_path, images=False)
    assert (len(dataset), dataset.complete, dataset.range) == (585, True, (0, 100))
    assert (dataset.items[4].name, dataset.items[-1].mos) == ("B002.mp4", 95)
    with pytest.raises(SettingError, match="585 of 585 images"):
        load_dataset("live-vqc", root=tmp_path)


def test_a_video_is_told_by_its_suffix() -> None:
    assert container_kind("https://example.org/a/clip.MP4?token=1") == "video"
    assert container_kind("clip.mp4.png") is None
