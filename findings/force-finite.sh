#!/usr/bin/env bash
# Expected: scikit-learn's r_regression, whose force_finite (on unless switched off) promises 0 where the
# correlation with a constant would not be finite, gives 0 for a constant feature.
#
# Actual: for 0.5 it does. For a constant whose mean is rounded, such as 0.1, it gives inf, -inf or a number near
# 1e-9, depending on how often it is repeated: the squares less the square of the mean leave a rounding error in the
# place of 0, so that nothing has to be made finite, or what has to be is not found. A selection of the best features by
# it then sorts by rounding errors.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import sklearn
from sklearn.feature_selection import r_regression


def of_constant(value: float, rows: int) -> float:
    return float(r_regression(np.full((rows, 1), value), np.arange(rows, dtype=float))[0])


print("scikit-learn", sklearn.__version__, "numpy", np.__version__)
seen = {(value, rows): of_constant(value, rows) for value in (0.5, 0.1, 0.3) for rows in (5, 7, 10, 20)}
for (value, rows), correlation in seen.items():
    print(f"{rows} times {value}: {correlation}")
if any(seen[0.5, rows] != 0 for rows in (5, 7, 10, 20)) or np.isfinite(seen[0.1, 5]):
    raise SystemExit("changed")
PYTHON
