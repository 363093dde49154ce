"""Writes the corpus into a folder."""

import sys
from collections import Counter
from pathlib import Path

from corpus import all_cases, build

if len(sys.argv) != 2:
    sys.exit(__doc__ + " Usage: python -m corpus FOLDER")
kinds = Counter(built.case.kind for built in build(all_cases(), Path(sys.argv[1])))
for kind, count in kinds.items():
    print(f"{count:5} {kind}")
print(f"{kinds.total():5} in all")
