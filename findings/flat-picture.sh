#!/usr/bin/env bash
# Expected: a full-reference measure gives its best value to an image compared with itself.
#
# Actual: for a flat image (sky, a slide, a fade to black) torchmetrics answers SSIM 1, PSNR infinity,
# but UQI 0 and spatial correlation 0, the values of unrelated images, and VIF nan, without a warning; the
# mean of a batch that holds one such image is nan. With any texture all are 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import torchmetrics
from torchmetrics.functional import image as measures

NAMES = {
    "SSIM": lambda x, y: measures.structural_similarity_index_measure(x, y, data_range=1.0),
    "PSNR": lambda x, y: measures.peak_signal_noise_ratio(x, y, data_range=1.0),
    "UQI": measures.universal_image_quality_index,
    "SCC": measures.spatial_correlation_coefficient,
    "VIF": measures.visual_information_fidelity,
}
flat = torch.full((1, 3, 64, 64), 0.5)
noise = torch.rand(1, 3, 64, 64, generator=torch.manual_seed(0))
both = torch.cat([flat, noise])
seen = {}
print("torchmetrics", torchmetrics.__version__)
for name, measure in NAMES.items():
    seen[name] = [round(measure(image, image).item(), 3) for image in (noise, flat, both)]
    print(f"{name} of a picture against itself: noise {seen[name][0]}, flat {seen[name][1]}, both {seen[name][2]}")
wanted = {"SSIM": "[1.0, 1.0, 1.0]", "PSNR": "[inf, inf, inf]", "UQI": "[1.0, 0.0, 0.5]", "SCC": "[1.0, 0.0, 0.5]"}
if {name: str(values) for name, values in seen.items()} != {**wanted, "VIF": "[1.0, nan, nan]"}:
    raise SystemExit("changed")
PYTHON
