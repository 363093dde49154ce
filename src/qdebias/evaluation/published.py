"""The tables of the paper as printed, from `published.toml`, which names its sources."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from qdebias.evaluation.table import Agreement, Number

Version: TypeAlias = Literal["v1", "v2"]

FIRST: Version = "v1"
LATER: Version = "v2"

SOURCE: Mapping[Version, str] = {"v1": "arXiv 2411.12791v1", "v2": "arXiv 2411.12791v2"}

TITLES: Mapping[str, str] = {
    "livec": "LIVE Challenge",
    "koniq10k": "KonIQ-10k",
    "agiqa3k": "AGIQA-3k",
    "kadid10k": "KADID-10k",
    "spaq": "SPAQ",
    "siqad": "SIQAD",
}
"""The datasets of the paper in the order of Table 1: from `qdebias.inputs.datasets.CATALOGUE` to the printed name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A row of a table of the paper by dataset, without a fit and intervals; notes describe known errors."""

    name: str
    recipe: str = ""  # the method, if it is one of ours
    values: Mapping[str, Agreement]
    vanilla: Mapping[str, Agreement] = field(default_factory=dict)  # in Table 2, beside the values under Q-Debias
    version: Version = FIRST
    source: str = ""  # of a method of other authors
    training: str = ""  # the data that their model was trained on
    settings: tuple[str, ...] = ()  # further columns of Table 3


def _row(entry: dict[str, Any], notes: Mapping[str, str]) -> PublishedRow:
    """Return a row of the file; its notes are on the vanilla prompt if it has that, else on its values."""
    noted, named = "vanilla" if "vanilla" in entry else "values", entry.pop("notes", {})
    for column in ("values", "vanilla"):
        cells = {}
        for dataset, (srcc, plcc) in entry.get(column, {}).items():
            note = (notes[named[dataset]],) if column == noted and dataset in named else ()
            cells[dataset] = Agreement(srcc=Number(srcc), plcc=Number(plcc), notes=note)
        entry[column] = cells
    return PublishedRow(**entry | {"settings": tuple(entry.get("settings", ()))})


_FILE = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
_NOTES = _FILE.pop("notes")
_TABLES = {name: tuple(_row(entry, _NOTES) for entry in rows) for name, rows in _FILE.items()}
RIVALS = _TABLES["rivals"]
"""The rows of Table 1 that are neither Q-Bench's prompt nor Q-Debias."""
TABLE1_OURS, TABLE2, TABLE3, TABLE4, TABLE5 = (_TABLES[f"table{number}"] for number in range(1, 6))
QBENCH = TABLE1_OURS[0]
AFTER = _TABLES["after"]
"""Numbers that later work reports, for the last rows of Table 1; none of them was measured here."""
