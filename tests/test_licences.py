"""No package that comes with qdebias is under the GPL, the AGPL or a licence for non-commercial use."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS = PROJECT["optional-dependencies"]
FORBIDDEN = re.compile(r"\bA?GPL|Affero|GNU General Public|non-?commercial|\bNC\b", re.IGNORECASE)


def requirements(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return what a package requires here; qdebias itself as pyproject.toml has it, the others as installed."""
    if name == "qdebias":
        lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
        return [one for line in lines if (one := Requirement(line)).marker is None or one.marker.evaluate()]
    found = map(Requirement, metadata.requires(name) or ())
    return [
        one
        for one in found
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""})
    ]


def closure(extra: str) -> set[str]:
    """Return the names of all packages that come with an extra of qdebias, or with none."""
    todo = [("qdebias", frozenset({extra} - {""}))]
    seen = set(todo)
    for name, extras in todo:
        more = {(canonicalize_name(one.name), frozenset(one.extras)) for one in requirements(name, extras)}
        todo.extend(more - seen)
        seen |= more
    return {name for name, _ in seen} - {"qdebias"}


def licence(name: str) -> str:
    """Return what a package says of its licence: the expression, else the classifiers, else the words."""
    about = metadata.metadata(name)
    classifiers = [line for line in about.get_all("Classifier") or () if line.startswith("License :: ")]
    return about["License-Expression"] or ", ".join(classifiers) or (about["License"] or "")[:200]


@pytest.mark.parametrize(
    "extra", ["", "bench", "datasets", "integrations", "quantize", "ray", "remote", "s3", "serve", "torch"]
)
def test_licences_allow_every_use(extra: str) -> None:
    for name in closure(extra):
        words = licence(name)
        assert words, f"{name} does not say its licence"
        assert not FORBIDDEN.search(words), f"{name}: {words}"


@pytest.mark.parametrize(
    "words",
    [
        "GPL-3.0-only",
        "AGPL-3.0-or-later",
        "License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
        "GNU Affero General Public License v3",
        "PolyForm Noncommercial 1.0.0",
        "CC-BY-NC-4.0",
    ],
)
def test_licences_that_do_not_are_told(words: str) -> None:
    assert FORBIDDEN.search(words)


@pytest.mark.parametrize(
    "words", ["LGPL", "GNU Library or Lesser General Public License (LGPL)", "MPL-2.0", "BSD-3-Clause"]
)
def test_licences_that_do_are_not(words: str) -> None:
    assert not FORBIDDEN.search(words)
