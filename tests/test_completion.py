"""A shell completes commands and options."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qdebias.cli.app import HOMES, app
from reference_data import skip_absent


def completed(line: str) -> set[str]:
    """Return what bash would be offered at the end of a line."""
    words = line.split(" ")
    asked = {"_QDEBIAS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return {*CliRunner().invoke(app, prog_name="qdebias", env=asked).stdout.split()}


def test_commands_are_completed() -> None:
    assert completed("qdebias ") == {*HOMES}
    assert completed("qdebias re") == {"report", "reproduce", "retry"}


def test_options_of_a_command_are_completed() -> None:
    assert completed("qdebias score --me") == {"--method"}
    assert completed("qdebias filter --m") == {"--max-megapixels", "--method", "--min", "--model", "--move-to"}


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
