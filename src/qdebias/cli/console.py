"""What the commands share: consoles, errors in one line, progress."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from qdebias.errors import QdebiasError

Item = TypeVar("Item")

results = Console(soft_wrap=True, highlight=False)
words = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn an error that a user can act on into one line on stderr and exit code 2."""
    cause: BaseException
    try:
        yield
        return
    except QdebiasError as error:
        cause, message = error, one_line(str(error))
    except ImportError as error:  # such as a library that cannot be mapped into what memory is left
        cause, message = error, f"a library cannot be loaded: {one_line(str(error))}"
    except MemoryError as error:
        cause, message = error, "there is not enough memory; a smaller --batch or --max-side takes less"
    say(f"error: {message}", style="bold red")
    raise typer.Exit(2) from cause


def say(message: str, *, style: str = "") -> None:
    """Print words about the results, on stderr; square brackets in file names stay what they are."""
    words.print(Text(message, style=style))


def say_note(note: str) -> None:
    """Print what the user should know about a run folder."""
    say(one_line(note), style="yellow")


def say_failed(errors: Iterable[str | None]) -> int:
    """Name what failed, and return how many that were."""
    found = list(filter(None, errors))
    for error in found:
        say(f"failed: {one_line(error)}", style="red")
    return len(found)


def put(line: str) -> None:
    """Print a result while others are still being made: on a terminal above the progress bar."""
    if results.is_terminal and words.is_terminal:
        words.print(Text(line))
    else:
        typer.echo(line)


def one_line(message: str) -> str:
    """Return the message with line breaks and other control characters written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in message)


class Pace:
    """How fast images are answered; those that are passed over, as they were done before, take no part in it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times = deque([clock()], maxlen=200)

    def tick(self) -> None:
        """Note that one image more was answered."""
        self._times.append(self._clock())

    @property
    def rate(self) -> float:
        """Images per second, over the newest; 0 where nothing is known."""
        spent = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / spent if spent > 0 else 0.0

    def words(self, left: int | None) -> str:
        """Return the rate, and how long so many images more take at it; None where it is not known how many."""
        if not self.rate:
            return ""
        rate = f"{self.rate:.2f} images/s"
        return rate if left is None else f"{rate}, {timedelta(seconds=round(left / self.rate))} left"


@contextmanager
def progress(*, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with rate and time left where stderr is a terminal; `total` is None where not known.

    It yields a function that is told, after each image that was answered, how many are done; those that are passed
    over in between count as done, not as answered.
    """
    if not words.is_terminal:
        yield lambda _: None
        return
    told = TextColumn("{task.fields[pace]}")
    columns, pace = (SpinnerColumn(), TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), told), Pace()
    with Progress(*columns, console=words, transient=True) as bar:
        task = bar.add_task("scoring", total=total, pace="")

        def show(count: int) -> None:
            pace.tick()
            bar.update(task, completed=count, pace=pace.words(None if total is None else total - count))

        yield show


def track(items: Iterable[Item], *, total: int | None) -> Iterator[Item]:
    """Yield the items under a progress bar."""
    with progress(total=total) as show:
        for count, item in enumerate(items, start=1):
            yield item
            show(count)
