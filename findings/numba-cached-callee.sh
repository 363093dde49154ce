#!/usr/bin/env bash
# Expected: a function compiled by numba with cache=True gives the same numbers in every process of one machine,
# whether it was compiled there or read from the cache of a process before.
#
# Actual: where a function with fastmath calls another, and both are cached, the process that compiles them gives
# other last bits than every later one, which reads both from the cache: there the call is optimised otherwise. With
# inline="always" on the function that is called, all processes agree. So the first run after an installation, and each
# worker that compiles for itself, can differ from the rest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numba==0.68.1 numpy==2.4.6
cd "$folder"
cat > sums.py <<'PYTHON'
import os

import numba
import numpy as np

ZERO = np.float32(0)
FAST = {"contract", "reassoc", "nsz", "nnan", "arcp"}


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", inline=os.environ["INLINE"])
def add(here, there, sums):
    a, b, c, d = ZERO, ZERO, ZERO, ZERO
    for x in range(len(here)):
        product = here[x] * there[x]
        above, below = max(product, ZERO), min(product, ZERO)
        a += above
        b += below
        c += above * above
        d += below * below
    for place, part in enumerate((a, b, c, d)):
        sums[place] += part


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def products(plane, sums):
    for y in range(1, plane.shape[0]):
        add(plane[y - 1], plane[y], sums)
        add(plane[y][:-1], plane[y][1:], sums)


plane = np.random.default_rng(0).random((64, 64), dtype=np.float32) - np.float32(0.5)
sums = np.zeros(4)
products(plane, sums)
print(*(value.hex() for value in sums))
PYTHON
"$folder/venv/bin/python" -c 'import numba, numpy; print("numba", numba.__version__, "numpy", numpy.__version__)'
for inline in never always; do
    for run in compiles cached again; do
        INLINE=$inline NUMBA_CACHE_DIR="$folder/$inline" "$folder/venv/bin/python" sums.py > "$inline-$run"
        echo "inline=$inline, $run: $(cat "$inline-$run")"
    done
done
cmp never-cached never-again || { echo "changed: two cached runs differ"; exit 1; }
cmp always-compiles always-cached || { echo "changed: inlined, the first run differs"; exit 1; }
! cmp -s never-compiles never-cached || { echo "changed: the first run gives the bits of the later ones"; exit 1; }
