"""Ending when told to, by SIGTERM or Ctrl-C: files are closed, a word is said, and the process dies of that signal."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

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

            _say(f"{unsigned(str(folder))} keeps what was done, and the same command goes on from there")
        raise


def _say(message: str) -> None:
    from qdebias.cli.console import say

    say(message)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(number)
