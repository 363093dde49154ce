#!/usr/bin/env bash
# Expected: images that Ray Data wrote as Parquet can be read as one table by other tools, each with its
# shape, or not at all.
#
# Actual: if the images have two sizes and lie in two files, each file states one shape for its whole
# column. pyarrow joins the files silently and keeps the first file's shape, so that an image of 10 x
# 20 is said to be one of 32 x 64; Polars refuses to join them. Ray itself reads them rightly. In one file
# (`repartition(1)`) Ray writes another type, with a shape for each image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[data]==2.60.0" pillow==13.0.0 pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1 numpy==2.4.6
cd "$folder"
export RAY_raylet_start_wait_time_s=240 # a busy machine takes long to start Ray
"$folder/venv/bin/python" - <<'PYTHON'
import glob
import subprocess
import sys

import numpy as np
import ray
from PIL import Image

for name, size in (("a", (32, 64)), ("b", (10, 20))):
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(f"{name}.png")
ray.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
ray.data.DataContext.get_current().enable_progress_bars = False
pictures = ray.data.read_images(["a.png", "b.png"], override_num_blocks=2)
pictures.write_parquet("two")
pictures.repartition(1).write_parquet("one")
by_ray = sorted(row["image"].shape for row in ray.data.read_parquet("two").take_all())
ray.shutdown()
READ = '''
import glob, polars, pyarrow, pyarrow.parquet
def stated(folder):
    table = pyarrow.parquet.read_table(folder)
    metadata = table.schema.field("image").metadata
    return metadata[b"ARROW:extension:name"].decode(), metadata[b"ARROW:extension:metadata"].decode(), table
name, shape, table = stated("two")
print("pyarrow", pyarrow.__version__, "two files:", name, shape, "numbers:", sorted(map(len, table["image"].to_pylist())))
print("pyarrow", pyarrow.__version__, "one file:", *stated("one")[:2])
try:
    polars.read_parquet("two/*.parquet")
    print("polars reads them")
except polars.exceptions.SchemaError:
    print("polars", polars.__version__, "refuses two files")
'''
read = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True).stdout
print("ray", ray.__version__, "files:", len(glob.glob("two/*.parquet")), "shapes by Ray:", by_ray)
print(read, end="")
if by_ray != [(10, 20, 3), (32, 64, 3)] or "numbers: [600, 6144]" not in read or "refuses two files" not in read:
    raise SystemExit("changed")
if "two files: ray.data.arrow_tensor_v2 [" not in read or "one file: ray.data.arrow_variable_shaped_tensor" not in read:
    raise SystemExit("changed: types")
PYTHON
