#!/usr/bin/env bash
# Expected: the frames of an HD video have the colours that a player shows. Where the file does not name its
# matrix, as many of screen recorders and generators do not, players take BT.709 for HD and BT.601 for less.
#
# Actual: PyAV, OpenCV and imageio take BT.601 whatever the size. Reds and greens of an HD video are off by
# 24 of 255 levels; with the matrix named in the file, the same pixels come out right within 2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 opencv-python-headless==5.0.0.93 imageio==2.38.1 \
    imageio-ffmpeg==0.8.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import cv2
import imageio
import numpy as np
from av.video.reformatter import Colorspace

COLOURS = np.array([(200, 30, 40), (20, 180, 60)], np.uint8)
picture = np.repeat(np.repeat(COLOURS[None], 720, axis=0), 640, axis=1)


def write(path: str, *, named: bool) -> None:
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        if named:
            stream.codec_context.colorspace = Colorspace.ITU709
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        file.mux(stream.encode())


def read(path: str) -> dict[str, np.ndarray]:
    with av.open(path) as file:
        by_av = next(file.decode(video=0)).to_ndarray(format="rgb24")
    by_opencv = cv2.VideoCapture(path).read()[1][..., ::-1]
    by_imageio = np.asarray(imageio.get_reader(path, "ffmpeg").get_data(0))
    return {"av": by_av, "opencv": by_opencv, "imageio": by_imageio}


print("av", av.__version__, "opencv", cv2.__version__, "imageio", imageio.__version__)
for named, bounds in ((True, (0, 3)), (False, (20, 30))):
    write("a.mp4", named=named)
    for reader, pixels in read("a.mp4").items():
        seen = pixels[360, [320, 960]].astype(int)
        off = int(np.abs(seen - COLOURS).max())
        print("BT.709 named:" if named else "nothing named:", reader, seen.tolist(), "off by", off)
        if not bounds[0] <= off <= bounds[1]:
            raise SystemExit("changed")
PYTHON
