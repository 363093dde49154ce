"""The command line: each command parses, calls the library and prints."""

import os
import sys
import warnings

from qdebias.cli.app import app
from qdebias.cli.stopping import stoppable

__all__ = ["main"]


def main() -> None:
    """Run the command line. Results go to stdout, words about them to stderr."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else idle threads of torch spin, and starve those that load
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # damage in metadata, many pixels; what matters fails with an error of its own
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files may be no text
    with stoppable():
        app(prog_name="qdebias")
