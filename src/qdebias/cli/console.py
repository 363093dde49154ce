"""What the commands share: options, consoles, errors in one line, progress."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
)
from rich.text import Text

from qdebias.errors import QdebiasError, SettingError
from qdebias.image import MIN_SIDE
from qdebias.methods import presets
from qdebias.methods.parts import ASPECTS
from qdebias.system.named import nearest

Item = TypeVar("Item")

ImageColumn = Annotated[
    str | None,
    typer.Option(
        "--column", help="Column of paths, addresses or images in tables. Default: image, path, url or file_name."
    ),
]
Paths = Annotated[
    list[str],
    typer.Argument(help='Image files, folders (searched recursively) or patterns in quotes such as "photos/*.jpg".'),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="Which model answers: `nano` is embedded and needs no download; see `qdebias models`."
    ),
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        "-k",
        help="How it is asked; see `qdebias methods`. Parts are added with a plus, paper+levels5+logodds. One's own: "
        "package.module:name, or a .toml file. Other degradations: paper@fog,package.module:name.",
    ),
]
Aspect = Annotated[
    str | None,
    typer.Option(
        "--aspect",
        help=f"Ask about this in the place of quality as a whole: {', '.join(ASPECTS)}. Short for +ASPECT behind the "
        "method.",
    ),
]
FitFile = Annotated[
    Path | None,
    typer.Option(
        "--fit",
        help="Score with a fit to labels of one's own, a file of `qdebias fit`: short for `--method FILE`.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random degradations; same seed, same scores.")]
Batch = Annotated[int, typer.Option(min=1, help="How many images go to the model at a time.")]
Device = Annotated[
    str | None, typer.Option(help="Where the model runs: cpu, cuda, cuda:1, mps. Default: the best there is.")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Numeric type of the weights: float32, bfloat16, float16, or auto. Default: auto, on a GPU the "
        "checkpoint's own; on a CPU with units for it bfloat16 if that is the checkpoint's own, else float32."
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run",
        help="Keep every answer of the model in this folder: the same command goes on where it stopped, "
        "and another method asks only what is missing.",
    ),
]
Megapixels = Annotated[
    float, typer.Option(min=0.001, help="Images with more megapixels are refused before they are decoded.")
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        min=MIN_SIDE,
        help="Make larger images smaller before they are scored, so that the longer side has this many pixels. "
        "It changes scores, and belongs to a run folder. Default: images are scored as they are.",
    ),
]

results = Console(soft_wrap=True, highlight=False)
words = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn an error that a user can act on into one line on stderr and exit code 2."""
    try:
        yield
    except QdebiasError as error:
        say(f"error: {one_line(str(error))}", style="bold red")
        raise typer.Exit(2) from error
    except ImportError as error:  # such as a library that cannot be mapped into what memory is left
        say(f"error: a library cannot be loaded: {one_line(str(error))}", style="bold red")
        raise typer.Exit(2) from error
    except MemoryError as error:
        say("error: there is not enough memory; a smaller --batch or --max-side takes less", style="bold red")
        raise typer.Exit(2) from error


def method_named(method: str, aspect: str | None = None, fit: Path | None = None) -> str:
    """Return the name of a method as it is always written, asked about an aspect where there is one.

    Args:
        method: The method.
        aspect: The aspect.
        fit: A fit, in the place of both.

    Raises:
        SettingError: There is no such method or aspect, or no such fit.
    """
    if fit is not None:
        if aspect is not None or method != "paper":
            raise SettingError("--fit is a method of its own; leave out --method and --aspect")
        if fit.suffix != presets.FIT:
            raise SettingError(f"--fit {fit} is not the name of a fit, which ends in {presets.FIT}")
        return presets.get(str(fit)).name
    if aspect is None:
        return presets.get(method).name
    if aspect not in ASPECTS:
        raise SettingError(
            f"there is no aspect {aspect!r}{nearest(aspect, ASPECTS)}; choose one of {', '.join(ASPECTS)}"
        )
    return presets.get(f"{method}+{aspect}").name


def say(message: str, *, style: str = "") -> None:
    """Print words about the results, on stderr; square brackets in file names stay what they are."""
    words.print(Text(message, style=style))


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
    """How fast images are answered; those that are passed over, as they were done before, take no part in it.

    Args:
        clock: Gives the time in seconds.
    """

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


def track(items: Iterable[Item], *, total: int | None) -> Iterator[Item]:
    """Yield the items under a progress bar."""
    with progress(total=total) as show:
        for count, item in enumerate(items, start=1):
            yield item
            show(count)


@contextmanager
def progress(*, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with rate and time left where stderr is a terminal.

    Args:
        total: How many images there will be; None where that is not known.

    Yields:
        A function that is told, after each image that was answered, how many are done; those that are passed over in
        between count as done, not as answered.
    """
    told = TextColumn("{task.fields[pace]}")
    columns, pace = (SpinnerColumn(), TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), told), Pace()
    with Progress(*columns, console=words, transient=True, disable=not words.is_terminal) as bar:
        task = bar.add_task("scoring", total=total, pace="")

        def show(count: int) -> None:
            pace.tick()
            bar.update(task, completed=count, pace=pace.words(None if total is None else total - count))

        yield show
