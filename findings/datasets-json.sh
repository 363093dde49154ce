#!/usr/bin/env bash
# Expected: a number that is written to a dataset comes back as it was, as it does from a column of floats
# or structures.
#
# Actual: a column of type `Json`, which `Dataset.map` chooses by itself for dictionaries that begin
# empty, rounds numbers to ten decimals: 0.6089928317378887 comes back as 0.6089928317000001, and 1e-12 as 0.
# Data-Juicer holds the statistics of its filters in such a column.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pandas==3.1.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import datasets
import pandas as pd
from datasets import Dataset, Features, Json

datasets.disable_progress_bars()
print("datasets", datasets.__version__, "pandas", pd.__version__)
numbers = [0.6089928317378887, 1e-12, 0.5]
rows = [{"score": number} for number in numbers]
empty = Dataset.from_dict({"number": numbers}).map(lambda row: {"stats": {}})
columns = {
    "structure": Dataset.from_dict({"stats": rows}),
    "Json": Dataset.from_dict({"stats": rows}, features=Features({"stats": Json()})),
    "Json by map": empty.map(lambda row: {"stats": {"score": row["number"]}}),
}
found = {name: [row["score"] for row in column["stats"]] for name, column in columns.items()}
for name, column in columns.items():
    print(f"{name}: {found[name]}, of type {type(column.features['stats']).__name__}")
if found["structure"] != numbers or any(found[name] != [0.6089928317000001, 0.0, 0.5] for name in ("Json", "Json by map")):
    raise SystemExit("changed")
PYTHON
