#!/usr/bin/env bash
# Expected: of a wheel whose metadata names the BSD licence, and whose FFmpeg calls itself "LGPL version 3 or
# later", that no library in it is under the GPL. FFmpeg's own configure does not build x264 or x265 in without
# --enable-gpl, and then calls the result GPL.
#
# Actual: PyAV's wheel for Linux carries libx264 and libx265, which are under the GPL, and its libavcodec, built
# with both and without --enable-gpl, loads them. A look at the metadata or at `avcodec_license` does not show it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import ctypes
from importlib import metadata
from pathlib import Path

import av

libraries = Path(av.__file__).parent.parent / "av.libs"
codec = ctypes.CDLL(str(next(libraries.glob("libavcodec*"))))
for name in ("avcodec_license", "avcodec_configuration"):
    getattr(codec, name).restype = ctypes.c_char_p
licence, built = codec.avcodec_license().decode(), codec.avcodec_configuration().decode().split()
carried = sorted(path.name.split("-")[0] for path in libraries.glob("libx26*"))
print("av", av.__version__, "metadata:", metadata.metadata("av")["License-Expression"])
print("libavcodec says:", licence)
print("carried:", carried, "built with:", [flag for flag in built if "x26" in flag or "gpl" in flag])
opens = av.Codec("libx264", "w").long_name
print("the encoder that opens:", opens)
if (licence, carried, "--enable-gpl" in built) != ("LGPL version 3 or later", ["libx264", "libx265"], False):
    raise SystemExit("changed")
PYTHON
