"""Videos: frames at equal distances, each an image of its own. Decoded by PyAV, of the extra `video`."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from qdebias.errors import ImageError, MissingPackageError, SettingError
from qdebias.inputs.addresses import open_container
from qdebias.inputs.items import Container, EncodedItem, Image, member_name, unreadable

FRAMES = 8  # how many frames of a video are scored


@dataclass(frozen=True, slots=True)
class Video(Container):
    """Some frames of one video, at equal distances from the first to the last; all of a shorter one."""

    count: int = FRAMES

    def __iter__(self) -> Iterator[Image]:
        """Yield the frames, called by their time: `clip.mp4!3.203s`."""
        try:
            av = import_module("av")
        except ImportError as error:
            raise MissingPackageError(
                f"{self.container}: videos are decoded by PyAV; install it (pip install 'qdebias[video]')"
            ) from error
        try:
            with open_container(self.container) as file, av.open(file) as video:
                stated = video.streams.video[0].frames if video.streams.video else 0
            found, count = self._read(av, stated)
            if not count:
                raise ImageError("has no picture")
            yield from found if count == stated else self._read(av, count)[0]  # the header may be wrong
        except (av.FFmpegError, SettingError, ImageError, OSError) as error:
            words = f"is damaged, or no video ({error.strerror})" if isinstance(error, av.FFmpegError) else str(error)
            yield unreadable(self.container, words)

    def _read(self, av: Any, total: int) -> tuple[list[EncodedItem], int]:  # noqa: ANN401 (loaded where it is needed)
        """Return the chosen frames of a video that has so many, and how many it has."""
        found, number, wanted = [], 0, set(places(total, self.count))
        with open_container(self.container) as file, av.open(file) as video:
            for stream in video.streams.video[:1]:
                stream.thread_type = "AUTO"
                for frame in video.decode(stream):
                    if frame.is_corrupt:
                        raise ImageError(f"frame {number} is damaged")
                    if number in wanted:
                        key = f"frame{number}" if frame.time is None else f"{frame.time:.3f}s"
                        found.append(EncodedItem(member_name(self.container, key), self.container, _ppm(av, frame)))
                    number += 1
        return found, number


def places(count: int, frames: int) -> list[int]:
    """Return the numbers of at most so many frames at equal distances, from the first to the last."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, frames)).round()]


def _ppm(av: Any, frame: Any) -> bytes:  # noqa: ANN401
    """Return the file of a frame, upright, by the matrix that it names; if none, as players do: BT.709 for HD."""
    from qdebias.image import MAX_PIXELS  # loads Pillow, which labels alone do not need

    hdr = {16: "PQ", 18: "HLG"}.get(frame.color_trc)
    if hdr is not None:
        raise ImageError(f"is HDR ({hdr}); convert it to SDR first")
    if frame.width * frame.height > MAX_PIXELS:
        raise ImageError(f"{frame.width} x {frame.height} are more than {MAX_PIXELS / 1e6:.0f} megapixels")
    unknown_hd = frame.colorspace in (0, 2) and (frame.width >= 1280 or frame.height > 576)
    flags = av.video.reformatter.Interpolation
    pixels = frame.reformat(
        format="rgb24",
        src_colorspace=1 if unknown_hd else None,  # BT.709
        interpolation=flags.BICUBIC | flags.ACCURATE_RND | flags.FULL_CHR_H_INT,
    ).to_ndarray()
    upright = np.rot90(pixels, round(frame.rotation / 90))
    height, width = upright.shape[:2]
    data: bytes = upright.tobytes()
    return b"P6 %d %d 255\n" % (width, height) + data
