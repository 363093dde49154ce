#!/usr/bin/env bash
# Expected: a rolling correlation with values that do not change within the window is not defined, and a
# library of tables answers NaN (pandas, DuckDB) whatever the value is that does not change.
#
# Actual: Polars' rolling_corr answers NaN for 0.5 and minus or plus infinity for most windows of 0.1:
# the variance comes out as a rounding error next to 0, and what is divided by it has no bound. `fill_nan` and
# `drop_nans` do not catch it, and a mean of the column is infinite. Outside of windows, `pl.corr` of the same
# column is NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet polars==2.1.0 pandas==3.1.1 duckdb==2.0.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import duckdb
import numpy as np
import pandas as pd
import polars as pl

mos = np.random.default_rng(0).normal(size=60)
seen = {}
print("polars", pl.__version__, "pandas", pd.__version__, "duckdb", duckdb.__version__)
for constant in (0.5, 0.1):
    rows = pd.DataFrame({"place": range(60), "score": np.full(60, constant), "mos": mos})
    frame = pl.DataFrame({"score": rows["score"].to_numpy(), "mos": mos})
    polars = frame.select(pl.rolling_corr("score", "mos", window_size=10)).to_series().to_numpy()[9:]
    pandas = rows["score"].rolling(10).corr(rows["mos"]).to_numpy()[9:]
    query = "select corr(score, mos) over (order by place rows 9 preceding) from rows order by place"
    duck = np.array([np.nan if row[0] is None else row[0] for row in duckdb.sql(query).fetchall()][9:])
    whole = frame.select(pl.corr("score", "mos")).item()
    for name, found in (("polars", polars), ("pandas", pandas), ("duckdb", duck)):
        seen[name, constant] = int(np.isnan(found).sum()), int(np.isinf(found).sum())
        print(f"{constant} in {name}: {seen[name, constant][0]} NaN, {seen[name, constant][1]} infinite of {len(found)}")
    print(f"{constant} in polars, without a window: {whole}")
    if not (seen["pandas", constant] == seen["duckdb", constant] == (51, 0) and np.isnan(whole)):
        raise SystemExit("changed: pandas, duckdb or pl.corr")
if seen["polars", 0.5] != (51, 0) or seen["polars", 0.1][1] < 10:
    raise SystemExit("changed: polars")
PYTHON
