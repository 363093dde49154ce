"""The datasets that are known by name, each one file in `datasets/`."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, TypeAlias

from qdebias.errors import SettingError
from qdebias.inputs.datasets.matlab import Grid, LiveMatrix, read_csiq_workbook, read_livec
from qdebias.inputs.datasets.readers import Delimited, read_records
from qdebias.inputs.datasets.table import Annex, Entry, LabelFile, Labels, Reader, Variant
from qdebias.system.named import nearest

Table: TypeAlias = dict[str, Any]

_FIRST = ("livec", "koniq10k", "agiqa3k", "kadid10k", "spaq", "siqad")  # the six of the paper, in its order
_READERS: Mapping[str, Reader] = {
    "livec": read_livec,
    "live": LiveMatrix(variable="dmos"),
    "live realigned": LiveMatrix(variable="dmos_new"),
    "csiq workbook": read_csiq_workbook,
}


def _entries() -> Iterator[Entry]:
    folder = files("qdebias.inputs.datasets")
    forms = _read(folder / "forms.toml")
    tables = {
        file.name.removesuffix(".toml"): _read(file)
        for file in (folder / "known").iterdir()
        if file.name.endswith(".toml")
    }
    for name in (*_FIRST, *sorted(tables.keys() - set(_FIRST))):
        yield _entry(name, tables[name], forms)


def _read(file: Traversable) -> Table:
    """Return a file's tables, with tuples for lists and spaces for line breaks."""
    table: Table = _plain(tomllib.loads(file.read_text("utf-8")))
    return table


def _entry(name: str, table: Table, forms: Mapping[str, Table]) -> Entry:
    """Return the dataset of one file; an unknown column is a `TypeError`."""
    labels = [form for one in table.pop("labels") for form in _labels(forms.get(one.pop("like", ""), {}) | one)]
    variants = [Variant(**variant) for variant in table.pop("variants", ())]
    pattern = re.compile(table.pop("pattern"), re.IGNORECASE)
    return Entry(name=name, pattern=pattern, labels=tuple(labels), variants=tuple(variants), **table)


def _labels(table: Table) -> Iterator[Labels]:
    """Yield the form of labels that a table describes, once for each name under which its file circulates."""
    annexes = tuple(Annex(**annex) for annex in table.pop("annexes", ()))
    reader = _reader(table)
    names = table.pop("file", ())
    alternatives = [(LabelFile(path=name),) for name in ((names,) if isinstance(names, str) else names)]
    together = tuple(LabelFile(**file) for file in table.pop("files", ()))
    for label_files in [together] if together else alternatives:
        yield Labels(files=label_files, annexes=annexes, reader=reader, **table)


def _reader(table: Table) -> Reader:
    if "reader" in table:
        return _READERS[table.pop("reader")]
    if "grid" in table:
        return Grid(**table.pop("grid"))
    if "columns" in table:
        delimiter = table.pop("delimiter", ",")
        return Delimited(columns=table.pop("columns"), delimiter=None if delimiter == "white space" else delimiter)
    return read_records


def _plain(value: Any) -> Any:  # noqa: ANN401  any value that TOML has
    if isinstance(value, list):
        return tuple(_plain(part) for part in value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.replace("\n", " ") if isinstance(value, str) else value


CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in _entries()}
"""By name; the six of the paper first."""


def entry(name: str) -> Entry:
    """Return the dataset of a name; upper case, "-" and "_" do not matter, so "KonIQ-10k" is koniq10k.

    Raises:
        SettingError: There is none of that name.
    """
    found = CATALOGUE.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise SettingError(
            f"no dataset is called {name!r}{nearest(name, CATALOGUE)}; known are {', '.join(CATALOGUE)}, "
            f"or give a label file (.csv, .json, ... with columns img_path and gt_score)"
        )
    return found
