"""The numbers that the paper prints, as it prints them: the tables of `published.toml`, which names its sources."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

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
"""The datasets of the paper, in the order of Table 1: name in `qdebias.inputs.datasets.CATALOGUE` and name in print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """SRCC and PLCC (without a fit) of one cell, which have no intervals, and what is known to be wrong with them."""

    srcc: float
    plcc: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row of a table of the paper, as it is printed, by dataset; in Table 2 under Q-Debias and the vanilla prompt.

    `recipe` is the method that it is of, or else `source` says whose it is, and `training` what it was trained on.
    `settings` are further columns, as Table 3 has them.
    """

    name: str
    recipe: str = ""
    values: Mapping[str, Printed]
    vanilla: Mapping[str, Printed] = field(default_factory=dict)
    version: Version = FIRST
    source: str = ""
    training: str = ""
    settings: tuple[str, ...] = ()


def _row(said: dict[str, Any], notes: Mapping[str, str]) -> PublishedRow:
    """Return a row of the file; its notes are on the vanilla prompt where it has that, else on its values."""
    noted, named = "vanilla" if "vanilla" in said else "values", said.pop("notes", {})
    for column in ("values", "vanilla"):
        cells = {}
        for dataset, (srcc, plcc) in said.get(column, {}).items():
            note = notes[named[dataset]] if column == noted and dataset in named else ""
            cells[dataset] = Printed(srcc=srcc, plcc=plcc, note=note)
        said[column] = cells
    return PublishedRow(**said | {"settings": tuple(said.get("settings", ()))})


_FILE = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
_NOTES = _FILE.pop("notes")
_TABLES = {name: tuple(_row(said, _NOTES) for said in rows) for name, rows in _FILE.items()}
RIVALS = _TABLES["rivals"]
"""The rows of Table 1 that are neither Q-Bench's prompt nor Q-Debias."""
TABLE1_OURS, TABLE2, TABLE3, TABLE4, TABLE5 = (_TABLES[f"table{number}"] for number in range(1, 6))
QBENCH = TABLE1_OURS[0]
AFTER = _TABLES["after"]
"""What others print who came after the paper, for the last rows of Table 1; nothing of it was measured here."""
