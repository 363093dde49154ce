#!/usr/bin/env bash
# Expected: a rank correlation of predictions of which one is NaN, or all are equal, is NaN, as
# torchmetrics' PearsonCorrCoef of a NaN and scipy's spearmanr and kendalltau are.
#
# Actual: torchmetrics' Spearman and Kendall give a NaN a rank like a number and answer an ordinary
# number without a warning: one failed prediction of 20 that agree perfectly makes .71 and .90 of 1. For
# predictions that are all equal, Spearman is exactly 0 and Kendall NaN: a mean over datasets takes the one
# for "does not agree" and is lost by the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.13.0 scipy==1.17.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import scipy
import torch
import torchmetrics
from scipy.stats import kendalltau, spearmanr
from torchmetrics.functional import kendall_rank_corrcoef, pearson_corrcoef, spearman_corrcoef

mos = torch.arange(20.0)
failed, flat = mos.clone(), torch.full((20,), 0.5)
failed[0] = torch.nan
seen = {}
print("torchmetrics", torchmetrics.__version__, "scipy", scipy.__version__)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, measure in (("Spearman", spearman_corrcoef), ("Kendall", kendall_rank_corrcoef)):
        seen[name] = [round(measure(scores, mos).item(), 2) for scores in (mos, failed, flat)]
        print(f"torchmetrics' {name}: perfect {seen[name][0]}, one of them NaN {seen[name][1]}, all equal {seen[name][2]}")
print("warnings:", len(caught))
warnings.simplefilter("ignore")
print("torchmetrics' Pearson, one of them NaN:", pearson_corrcoef(failed, mos).item())
others = [measure(scores, mos).statistic for measure in (spearmanr, kendalltau) for scores in (failed, flat)]
print("scipy's Spearman and Kendall of the same:", *others)
if any(value == value for value in others) or caught:
    raise SystemExit("changed: scipy, or there is a warning")
if str(seen) != "{'Spearman': [1.0, 0.71, 0.0], 'Kendall': [1.0, 0.9, nan]}":
    raise SystemExit(f"changed: {seen}")
PYTHON
