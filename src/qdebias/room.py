"""How much may lie ready at a time, shared by threads that make it ready."""

import threading
from concurrent.futures import CancelledError


class Room:
    """Lets things in one after the other, as far as there is room for them.

    Things are numbered from 1 and come in by number, whichever thread is first, so that whoever takes them away in
    order never waits for one that is kept out by a later one. What is larger than the room comes in alone.

    Args:
        size: How much there is.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[int, int] = {}
        self._next = 1
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, number: int, size: int) -> None:
        """Wait until it is this number's turn and there is room for something of that size.

        Raises:
            CancelledError: The room was closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (number == self._next and self._fits(size)))
            if self._closed:
                raise CancelledError
            self._held[number] = size
            self._next += 1
            self._changed.notify_all()

    def leave(self, number: int) -> None:
        """Make room: the thing of that number is no longer held here."""
        with self._changed:
            del self._held[number]
            self._changed.notify_all()

    def close(self) -> None:
        """Send away whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        held = sum(self._held.values())
        return held == 0 or held + size <= self._size
