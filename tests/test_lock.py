"""The versions that `make` installs: each of them, from anywhere, and within what users get."""

import os
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reference_data import ROOT

PINS = dict(
    line.split("==") for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def wanted() -> dict[str, Requirement]:
    """Return what the extra `dev` asks for, with all extras that it names, and the tools of continuous integration."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines, todo = [*project["dependencies"], *(ROOT / ".ci" / "tools.txt").read_text().splitlines()], ["dev"]
    for extra in todo:
        for line in extras[extra]:
            more = sorted(Requirement(line).extras) if line.startswith("qdebias[") else []
            todo.extend(name for name in more if name not in todo)
            lines += [] if more else [line]
    return {canonicalize_name(one.name): one for one in map(Requirement, (line for line in lines if line[0] != "#"))}


def test_every_version_is_one_that_users_may_get() -> None:
    outside = [str(one) for name, one in wanted().items() if not one.specifier.contains(PINS.get(name, "0"))]
    assert not outside, "run `make lock`"
    assert {"torch", "pytest", "ray", "fastapi", "hatchling", "pip"} <= set(wanted())
    assert len(PINS) > 2 * len(wanted())  # and what these need in turn


def test_it_holds_nothing_of_the_machine_that_wrote_it() -> None:
    """No address, no path, no build of its own: on an ordinary machine as on one with its own build of torch."""
    for name, version in PINS.items():
        assert name == canonicalize_name(name)
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), (name, version)
    assert list(PINS) == sorted(PINS)


@pytest.mark.parametrize("variables", [{}, {"CI": "true"}])
@pytest.mark.parametrize("target", ["setup", "demo", "test"])
def test_what_was_tested_is_what_a_fresh_machine_gets(target: str, variables: dict[str, str]) -> None:
    there = {name: value for name, value in os.environ.items() if name not in ("CI", "MAKEFLAGS")}
    shown = subprocess.run(
        ["make", "--dry-run", target, "VENV=nowhere"],
        cwd=ROOT,
        env=there | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in shown.stdout.splitlines() if "pip install" in line]
    assert len(lines) == 2
    assert sum("--constraint .ci/constraints.txt" in line for line in lines) == 2
