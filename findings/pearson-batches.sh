#!/usr/bin/env bash
# Expected: torchmetrics' PearsonCorrCoef of predictions that are all equal is nan with its warning about
# zero variance, and how the predictions were cut into batches does not matter.
#
# Actual: with batches of 1 or 3 it is nan and warns. With batches of 8 or all at once it is 7e-9 or so,
# without a warning: a model that answers the same for every image looks like one that is merely
# uncorrelated.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import torch
import torchmetrics

target = torch.randn(64, generator=torch.manual_seed(0))
predictions = torch.full((64,), 0.1)


def correlation(size: int) -> tuple[float, bool]:
    metric = torchmetrics.PearsonCorrCoef()
    for start in range(0, 64, size):
        metric.update(predictions[start : start + size], target[start : start + size])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = metric.compute().item()
    return value, bool(caught)


print("torchmetrics", torchmetrics.__version__)
seen = {size: correlation(size) for size in (1, 3, 8, 64)}
for size, (value, warned) in seen.items():
    print(f"batches of {size}: {value}, {'with' if warned else 'without'} a warning")
if not all(value != value and warned for value, warned in (seen[1], seen[3])):
    raise SystemExit("changed: small batches")
if not all(abs(value) < 1e-6 and not warned for value, warned in (seen[8], seen[64])):
    raise SystemExit("changed: large batches")
PYTHON
