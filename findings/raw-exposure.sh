#!/usr/bin/env bash
# Expected: of two raw photographs of one scene, taken two stops apart, the underexposed one is darker when it is developed.
#
# Actual: rawpy (LibRaw) brightens each photograph until one percent of its pixels are white, unless
# no_auto_bright=True is given. Both come out equally bright, within a hundredth of a level on average, so whoever
# compares or scores them no longer sees the exposure. With no_auto_bright=True they differ as they should.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rawpy==0.28.0 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import rawpy
import tifffile

rows, columns = np.mgrid[:256, :384]
scene = (2000 + 12000 * columns / 384) * (0.6 + 0.4 * np.sin(rows / 17))
identity = [number for row in np.eye(3, dtype=int) for one in row for number in (int(one), 1)]
tags = [
    (50706, "B", 4, (1, 4, 0, 0), True),  # DNGVersion
    (50708, "s", 0, "Camera", True),  # UniqueCameraModel
    (33421, "H", 2, (2, 2), True),  # CFARepeatPatternDim
    (33422, "B", 4, (0, 1, 1, 2), True),  # CFAPattern: RGGB
    (50714, "I", 1, 0, True),  # BlackLevel
    (50717, "I", 1, 65535, True),  # WhiteLevel
    (50721, "2i", 9, identity, True),  # ColorMatrix1
    (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),  # AsShotNeutral
    (50778, "H", 1, 21, True),  # CalibrationIlluminant1: D65
]


def developed(name: str, gain: float, **settings: bool) -> float:
    sensor = (scene * gain).astype(np.uint16)
    tifffile.imwrite(name, sensor, photometric=32803, planarconfig=1, extratags=tags, metadata=None)
    with rawpy.imread(name) as photo:
        return float(photo.postprocess(**settings).mean())


auto = [developed(f"{gain}.dng", gain) for gain in (3.0, 0.75)]
plain = [developed(f"{gain}.dng", gain, no_auto_bright=True) for gain in (3.0, 0.75)]
print("rawpy", rawpy.__version__, "LibRaw", rawpy.libraw_version)
print(f"mean level, as it comes: {auto[0]:.2f} and {auto[1]:.2f}; no_auto_bright: {plain[0]:.2f} and {plain[1]:.2f}")
if abs(auto[0] - auto[1]) > 0.1 or plain[0] < 2 * plain[1]:
    raise SystemExit("changed")
PYTHON
