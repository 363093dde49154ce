"""A shell completes commands and options."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qdebias.cli.app import GROUPS, INDEX, app, command_of, indexed
from reference_data import skip_absent

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("commands", ROOT / "tools" / "commands.py")
assert spec
assert spec.loader
commands = importlib.util.module_from_spec(spec)
spec.loader.exec_module(commands)


def completed(line: str) -> set[str]:
    """Return what bash would be offered at the end of a line."""
    words = line.split(" ")
    asked = {"_QDEBIAS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return {*CliRunner().invoke(app, prog_name="qdebias", env=asked).stdout.split()}


def test_commands_are_completed() -> None:
    assert completed("qdebias ") == {name for commands in GROUPS.values() for name in commands}
    assert completed("qdebias re") == {"report", "reproduce", "retry"}


def test_options_of_a_command_are_completed() -> None:
    assert completed("qdebias score --me") == {"--method"}
    shared = {"--max-megapixels", "--max-side", "--method", "--model", "--model-arg"}
    assert completed("qdebias filter --m") == {*shared, "--min", "--move-to"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("qdebias score --method onl", {"only-fog", "only-saturate", "only-spatter", "only-zoom-blur"}),
        ("qdebias score --method paper+lev", {"paper+levels5"}),
        ("qdebias compare --methods qb", {"qbench", "qbench-t100"}),
        ("qdebias check --model nan", {"nano", "nano-biased"}),
        ("qdebias models sharp", {"sharpness"}),
        ("qdebias evaluate koni", {"koniq10k"}),
        ("qdebias bias --dataset koni", {"koniq10k"}),
        ("qdebias score --aspect co", {"colour", "contrast"}),
        ("qdebias help ev", {"evaluate"}),
    ],
)
def test_names_are_completed(line: str, found: set[str]) -> None:
    assert completed(line) == found


def test_help_of_a_command_and_of_a_word_that_is_none() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["help", "check"]).stdout == runner.invoke(app, ["check", "--help"]).stdout
    assert "bool" not in runner.invoke(app, ["help", "score"]).stdout
    assert "Did you mean 'score'" in runner.invoke(app, ["scroe"]).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_every_shell_has_a_script(shell: str) -> None:
    got = CliRunner().invoke(app, prog_name="qdebias", env={"_QDEBIAS_COMPLETE": f"source_{shell}"})
    assert f"complete_{'powershell' if shell == 'pwsh' else shell}" in got.stdout


def test_a_real_bash_completes() -> None:
    script = """
    eval "$(_QDEBIAS_COMPLETE=source_bash qdebias)"
    COMP_WORDS=(qdebias ran) COMP_CWORD=1
    $(complete -p qdebias | sed 's/.*-F \\([^ ]*\\) .*/\\1/') qdebias
    echo "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if not (bash := shutil.which("bash")):
        skip_absent("there is no bash")
    run = subprocess.run(
        [bash, "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert (run.stdout.split(), run.stderr) == (["rank"], "")


@pytest.mark.parametrize("name", commands.FUNCTIONS)
def test_the_help_from_the_index_is_that_of_the_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for command in (indexed(name), command_of(name, *commands.FUNCTIONS[name])):
        command.main(["--help"], prog_name=f"qdebias {name}", standalone_mode=False)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != ""


def test_help_groups_commands_and_keeps_lists_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runner = CliRunner()
    page = runner.invoke(app, ["--help"]).stdout
    for group, names in GROUPS.items():
        rows = page.partition(f"\n{group}:\n")[2].split("\n\n")[0].splitlines()
        assert [row.split()[0] for row in rows] == [*names]
    lines = runner.invoke(app, ["compare", "--help"]).stdout.splitlines()
    about = lines[: lines.index("Arguments:")]
    assert sum(line.startswith("  - qdebias compare ") for line in about) == 4
    assert not [line for line in about if line.endswith("-")]
    assert max(map(len, lines)) <= 80


def test_a_value_that_reads_help_is_a_value(tmp_path: Path) -> None:
    got = CliRunner().invoke(app, ["score", str(tmp_path), "--model", "--help"])
    assert (got.exit_code, "Usage" in got.output) == (2, False)


ENDED = """
import sys
try:
    {}
finally:
    print(*{{*{}}} & {{*sys.modules}}, file=sys.stderr)
"""
"""Runs something, and says on stderr which of some modules it loaded."""

HEAVY = ["torch", "transformers", "numba", "scipy", "matplotlib", "ray", "numpy", "PIL", "cv2", "pyarrow", "pydantic"]


def test_the_index_of_completion_is_that_of_the_commands() -> None:
    made = (ROOT / "src" / "qdebias" / "cli" / INDEX).read_text(encoding="utf-8")
    assert made == commands.index(), "an option has changed: run python tools/commands.py"


@pytest.mark.parametrize("line", ["qdebias ", "qdebias score --me", "qdebias score --method pap"])
def test_completion_loads_nothing_heavy(line: str) -> None:
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_QDEBIAS_COMPLETE": "complete_bash"}
    assert ("paper" if "pap" in line else "--method" if "--" in line else "explain") in light("rich.console", asked)


@pytest.mark.parametrize("asked", [["--help"], ["score", "--help"], ["help", "compare"]])
def test_help_loads_nothing_heavy(asked: list[str]) -> None:
    assert ("explain" if len(asked) == 1 else "--method") in light("qdebias.cli.options", {}, *asked)


def light(also: str, environment: dict[str, str], *arguments: str) -> str:
    """Return what a command prints, which loads none of `HEAVY` and not this module."""
    code = ENDED.format("from qdebias.cli import main; main()", HEAVY + also.split())
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == "\n"
    return run.stdout


def test_the_page_of_all_options_has_every_one() -> None:
    page = commands.page()
    for name, function in commands.FUNCTIONS.items():
        command = command_of(name, *function)
        section = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert str(command.help).splitlines()[0] in section
        for param in command.params:
            assert all(option in section for option in param.opts), (name, param.opts)


def test_no_command_loads_anything_heavy_before_it_runs() -> None:
    modules = {module for commands in GROUPS.values() for module, _ in commands.values()}
    code = ENDED.format(f"import {', '.join(f'qdebias.cli.{module}' for module in modules)}", HEAVY[:6])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == "\n"
