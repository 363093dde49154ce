"""The command line: each command parses, calls the library and prints.

Told to end, by SIGTERM or Ctrl-C, it closes its files, says a word and dies of that signal.
"""

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from qdebias.cli.app import app

__all__ = ["kept_in", "main"]


class Stopped(BaseException):
    """The process was told to end, by the signal in `args`; no command has to catch it."""


@contextmanager
def kept_in(folder: Path | str | None) -> Iterator[None]:
    """Say, where a command is stopped, that the folder keeps what was done; None where there is none."""
    try:
        yield
    except Stopped:
        if folder is not None:
            from qdebias.cli.console import say
            from qdebias.inputs.addresses import unsigned

            say(f"{unsigned(str(folder))} keeps what was done, and the same command resumes from there")
        raise


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
    raise Stopped(number)


def main() -> None:
    """Run the command line. Results go to stdout, words about them to stderr.

    A signal unwinds what is under way, and counts when a call of the model returns. The process then dies of it, so
    that shells and supervisors see that it was told to (130, 143).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else idle threads of torch spin, and starve those that load
    # damage in metadata, many pixels: what matters fails with an error of its own
    warnings.filterwarnings("ignore", module="PIL")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files may be no text
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as for jobs in the background of a script
            signal.signal(number, _stop)
    try:
        app(prog_name="qdebias")
    except Stopped as stop:
        from qdebias.cli.console import say

        number = signal.Signals(stop.args[0])
        say(f"stopped by {number.name}")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
