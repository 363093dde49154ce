"""Running as many things together as the memory holds."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from qdebias.errors import BackendError

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class OutOfMemoryError(BackendError):
    """What was to be run at once does not fit; less may."""


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Turn what torch raises where a device has no room left into an OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_want_of_memory(error):
            raise
        raise _does_not_fit(device) from error


def is_want_of_memory(error: Exception) -> bool:
    """Whether torch or Python says that there is not enough memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _does_not_fit(device: torch.device) -> OutOfMemoryError:
    return OutOfMemoryError(f"the model does not fit into the memory of {device}; use a smaller model or images")


class AtOnce:
    """How much is run together: halved where the memory does not suffice, and remembered.

    Args:
        size: The most, in units of `size_of_one`.
        what: What is counted, for the message.
    """

    def __init__(self, size: int, what: str) -> None:
        self.size = size
        self._what = what
        self._told = False

    def run(
        self, items: Sequence[Item], run: Callable[[Sequence[Item]], list[Result]], *, size_of_one: int = 1
    ) -> list[Result]:
        """Return the result for each item, in order.

        Args:
            items: Of equal size.
            run: Gives the results of some of them.
            size_of_one: The size of an item; one is run even if it is larger than the most.

        Raises:
            OutOfMemoryError: Not even one item fits.
        """
        results: list[Result] = []
        while len(results) < len(items):
            count = max(1, self.size // size_of_one)
            results += self._try(items[len(results) : len(results) + count], run, size_of_one)
        return results

    def _try(
        self, items: Sequence[Item], run: Callable[[Sequence[Item]], list[Result]], size_of_one: int
    ) -> list[Result]:
        try:
            return run(items)
        except OutOfMemoryError:
            if len(items) == 1:
                raise
        self.size = len(items) // 2 * size_of_one
        if not self._told:
            _log.warning("not enough memory: from now on at most %d %s are run together", self.size, self._what)
            self._told = True
        return []
