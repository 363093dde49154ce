"""The process that draws and correlates, which leaves the processors to whatever else wants them.

Run as `python -m qdebias.service.aside`; it reads pickled calls from stdin and writes pickled results to stdout.
"""

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, ParamSpec, TypeVar

from qdebias.service import READY
from qdebias.service.processes import EndedError, Pool, Process
from qdebias.service.refusal import Reason, Refusal

Given = ParamSpec("Given")
Result = TypeVar("Result")

NICENESS = 15
"""About a thirtieth of the share of a usual process, where all processors are busy; everything where one is idle."""


class Aside:
    """Work beside the model: one task at a time, in the order in which they come.

    Args:
        seconds: The process is killed when a task takes longer.
    """

    def __init__(self, *, seconds: float) -> None:
        self.pool = Pool([Process("qdebias.service.aside", seconds=seconds, environment=os.environ)])

    async def run(self, call: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """Return what a function of this package returns.

        Raises:
            Exception: What the function raised; Refusal where it took too long.
        """

        def exchange(source: IO[bytes], sink: IO[bytes]) -> Result | Exception:
            pickle.dump((call, args, kwargs), source)
            source.flush()
            try:
                found: Result | Exception = pickle.load(sink)  # noqa: S301 (from our own process)
            except pickle.UnpicklingError as error:  # it died while it wrote
                raise EOFError from error
            return found

        try:
            async with self.pool.one() as process:
                found = await process.run(exchange)
        except EndedError as error:
            raise Refusal(Reason.DEADLINE) from error
        if isinstance(found, Exception):
            raise found
        return found


def main() -> None:
    """Run the process."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    sink = sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may stand between the results
    sink.write(READY)
    sink.flush()
    with suppress(EOFError):
        while True:
            call, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301 (from the server)
            try:
                found = call(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 (raised again in the server)
                found = error
            pickle.dump(found, sink)
            sink.flush()


if __name__ == "__main__":
    main()
