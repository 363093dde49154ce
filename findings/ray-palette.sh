#!/usr/bin/env bash
# Expected: Ray Data's read_images gives the colours of an image with a palette (GIF, many PNG), as it
# does for other colour images, or says that it cannot.
#
# Actual: it gives an array of two dimensions, as for grey images, that holds the places in the
# palette: pure red may be 1 and white 0. A black and white image comes as booleans. mode="RGB" gives the
# colours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[data]==2.60.0" pillow==13.0.0 pyarrow==26.0.1 numpy==2.4.6
cd "$folder"
export RAY_raylet_start_wait_time_s=240 # a busy machine takes long to start Ray
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import ray
from PIL import Image

picture = Image.new("P", (4, 4), 1)
picture.putpalette([255, 255, 255, 255, 0, 0])
picture.save("red.png")
Image.new("1", (4, 4), 1).save("white.png")
ray.init("local", num_cpus=1, log_to_driver=False, include_dashboard=False)
ray.data.DataContext.get_current().enable_progress_bars = False


def read(name: str, **settings: str) -> np.ndarray:
    return ray.data.read_images(name, **settings).take_all()[0]["image"]


plain, colours, white = read("red.png"), read("red.png", mode="RGB"), read("white.png")
print("ray", ray.__version__)
print("red, of a palette:", plain.shape, plain.dtype, plain[0, 0], '| with mode="RGB":', colours[0, 0])
print("white, of one bit:", white.shape, white.dtype, white[0, 0])
if plain.shape != (4, 4) or plain[0, 0] != 1 or colours[0, 0].tolist() != [255, 0, 0] or white.dtype != bool:
    raise SystemExit("changed")
PYTHON
