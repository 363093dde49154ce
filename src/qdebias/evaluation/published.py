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
    """SRCC and PLCC of one cell, without intervals: the paper gives none.

    Attributes:
        srcc: Spearman's rank correlation.
        plcc: Pearson's correlation, without a fit.
        note: What is known to be wrong with it; empty where nothing is.
    """

    srcc: float
    plcc: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row of a table of the paper.

    Attributes:
        name: As it is printed.
        recipe: The name in `qdebias.methods.presets` of the method that this row is of; empty for other people's
            metrics.
        values: What is printed for each dataset that has a cell; in Table 2 under Q-Debias.
        vanilla: In Table 2: what is printed for the vanilla prompt.
        version: The version of the paper.
        source: Whose method it is; empty for the paper's own.
        training: What it was trained on; empty where the paper calls it training-free.
        settings: Further columns of the row, as Table 3 has them.
    """

    name: str
    recipe: str = ""
    values: Mapping[str, Printed]
    vanilla: Mapping[str, Printed] = field(default_factory=dict)
    version: Version = FIRST
    source: str = ""
    training: str = ""
    settings: tuple[str, ...] = ()


def _rows() -> dict[str, tuple[PublishedRow, ...]]:
    tables = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
    notes = tables.pop("notes")

    def row(said: dict[str, Any]) -> PublishedRow:
        named = {dataset: notes[key] for dataset, key in said.pop("notes", {}).items()}
        for column in ("values", "vanilla"):
            noted = named if column == "vanilla" or "vanilla" not in said else {}
            said[column] = {
                dataset: Printed(srcc=srcc, plcc=plcc, note=noted.get(dataset, ""))
                for dataset, (srcc, plcc) in said.get(column, {}).items()
            }
        return PublishedRow(**said | {"settings": tuple(said.get("settings", ()))})

    return {name: tuple(map(row, table)) for name, table in tables.items()}


_TABLES = _rows()
RIVALS = _TABLES["rivals"]
"""The rows of Table 1 that are neither Q-Bench's prompt nor Q-Debias."""
TABLE1_OURS, TABLE2, TABLE3, TABLE4, TABLE5 = (_TABLES[f"table{number}"] for number in range(1, 6))
QBENCH = TABLE1_OURS[0]
AFTER = _TABLES["after"]
"""What others print who came after the paper, for the last rows of Table 1; nothing of it was measured here."""

AFTER_NOTE = (
    "After the paper: trained scorers, as they print themselves on test sets of their own, not measured by us; a "
    "dataset that one was trained on says little about other images."
)
