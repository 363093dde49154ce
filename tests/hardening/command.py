"""The command line in a process of its own."""

import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

MEMORY = 4 << 30
"""Bytes of address space that a command may take here: far more than any file of the corpus is worth."""


def qdebias(
    *arguments: object,
    folder: Path | None = None,
    seconds: float = 120,
    memory: int = MEMORY,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends; one that hangs or takes more memory than that fails the test."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment,
        timeout=seconds,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
    )


def command(*arguments: object) -> Sequence[str]:
    """Return the words of a command."""
    return [sys.executable, "-c", "from qdebias.cli import main; main()", *map(str, arguments)]


def assert_calm(result: subprocess.CompletedProcess[str], *codes: int) -> None:
    """No traceback, no warning of a library, and one of the documented exit codes."""
    assert "Traceback" not in result.stderr, result.stderr[-3000:]
    assert "Warning" not in result.stderr, result.stderr[-3000:]
    assert result.returncode in codes, (result.returncode, result.stderr[-3000:])
