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

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The process was told to end; no command has to catch it.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Let a signal unwind what is under way; a second one ends the process at once.

    The process then dies of the signal, so that shells and supervisors see that it was told to (130, 143). A call of
    the model is not interrupted: the signal counts when it returns.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as for jobs in the background of a script
            signal.signal(number, _stop)
    try:
        yield
    except Stopped as stop:
        _say(f"stopped by {signal.Signals(stop.number).name}")
        signal.signal(stop.number, signal.SIG_DFL)
        os.kill(os.getpid(), stop.number)


@contextmanager
def kept_in(folder: Path | str | None) -> Iterator[None]:
    """Say, where a command is stopped, that the folder keeps what was done; None where there is none."""
    try:
        yield
    except Stopped:
        if folder is not None:
            from qdebias.inputs.addresses import unsigned

            _say(f"{unsigned(str(folder))} keeps what was done, and the same command resumes from there")
        raise


def _say(message: str) -> None:
    from qdebias.cli.console import say

    say(message)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(number)


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
