"""Every block of code in the documentation runs, or says why it cannot and is at least well formed."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from shutil import copytree

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from blocks import PAGES, ROOT, Block, Command, blocks_of, commands_of
from qdebias.cli.app import COMMANDS, app, command_of, loaded
from world import make_world

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SHOWN = ("text", "nginx")
"""Languages of blocks that are to be read."""

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "world"
    folder.mkdir()
    make_world(folder)
    return folder


def run_command(command: Command) -> None:
    assert command.words[0] == "qdebias", "only qdebias itself runs here; say why the block cannot"
    result = CliRunner().invoke(app, list(command.words[1:]))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    gate = command.words[1] == "check"  # whose exit code says what the scores are
    assert result.exit_code in ((0, 1) if gate else (0,)), result.output
    if command.out:
        Path(command.out).write_text(result.stdout)


def run_shell(text: str, _: dict[str, object]) -> None:
    for command in commands_of(text):
        run_command(command)


def run_python(text: str, names: dict[str, object]) -> None:
    exec(compile(text, "block", "exec", dont_inherit=True), names)  # noqa: S102 (our own documentation)


RUNNERS: Mapping[str, Callable[[str, dict[str, object]], object]] = {
    "bash": run_shell,
    "python": run_python,
    "sql": lambda text, _: duckdb.sql(text).fetchall(),
    "json": lambda text, _: json.loads(text),
    "toml": lambda text, _: tomllib.loads(text),
    "yaml": lambda text, _: yaml.safe_load(text),
}


def test_every_block_says_what_it_is() -> None:
    for block in BLOCKS:
        assert block.language in {*RUNNERS, *SHOWN}, block
        if block.run_by:
            test = (ROOT / block.run_by).read_text(encoding="utf-8")
            assert block.page.name in test, f"{block.run_by} does not read {block.page.name}"
    for page in PAGES:
        assert not re.search(r"^    (qdebias|pip) ", page.read_text(encoding="utf-8"), re.MULTILINE), page


RUN = {
    page: [
        block
        for block in BLOCKS
        if block.page == page and block.language in RUNNERS and not (block.not_run or block.run_by)
    ]
    for page in PAGES
}


@pytest.mark.parametrize("page", [page for page, blocks in RUN.items() if blocks], ids=lambda page: page.stem)
def test_blocks_run_in_their_order(
    page: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copytree(world, tmp_path / "world"))
    monkeypatch.syspath_prepend(ROOT / "examples" / "plugin")
    names: dict[str, object] = {"__name__": "documentation"}
    for block in RUN[page]:
        try:
            RUNNERS[block.language](block.text, names)
        except Exception as error:
            error.add_note(f"in the block of {block}")
            raise
    capsys.readouterr()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.not_run], ids=str)
def test_block_that_cannot_run_is_well_formed(block: Block) -> None:
    if block.language == "python":
        check_python(block.text)
    elif block.language == "bash":
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
        for command in commands_of(block.text):
            CHECKS.get(command.words[0], lambda _: None)(command.words[1:])


def check_python(text: str) -> None:
    """Names that are imported from qdebias, or read from it, are there."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qdebias"):
            for alias in node.names:
                assert hasattr(import_module(node.module or ""), alias.name), alias.name
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "qdebias":
            assert hasattr(import_module("qdebias"), node.attr), node.attr


def check_qdebias(words: tuple[str, ...]) -> None:
    """The command is there, and takes these options and arguments."""
    if words[0].startswith("--"):
        assert words[0] in CliRunner().invoke(app, ["--help"]).stdout
        return
    assert words[0] in COMMANDS, f"there is no command {words[0]}"
    command_of(words[0], *loaded(words[0])).make_context(words[0], list(words[1:]))


def check_pip(words: tuple[str, ...]) -> None:
    for extras in re.findall(r"\[(.+)\]", " ".join(words)):
        assert {*extras.split(",")} <= {*EXTRAS}, extras


def check_make(words: tuple[str, ...]) -> None:
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), words


def check_python_command(words: tuple[str, ...]) -> None:
    assert (ROOT / words[0]).is_file(), words


CHECKS: Mapping[str, Callable[[tuple[str, ...]], None]] = {
    "qdebias": check_qdebias,
    "pip": check_pip,
    "make": check_make,
    "python": check_python_command,
}
