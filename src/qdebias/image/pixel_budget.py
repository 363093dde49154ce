"""How many decoded pixels may wait for the model, shared by the threads that decode."""

import threading
from concurrent.futures import CancelledError


class PixelBudget:
    """Admits numbered images in order while their pixels fit.

    Images are numbered from 1 and admitted by number, whichever thread is first, so that a consumer that takes them in
    order never waits for one that is held up by a later one. An image larger than the budget is admitted alone.

    Args:
        size: How many pixels in all.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[int, int] = {}
        self._next = 1
        self._closed = False
        self._changed = threading.Condition()

    def acquire(self, number: int, pixels: int) -> None:
        """Wait until it is this image's turn and its pixels fit.

        Raises:
            CancelledError: The budget was closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (number == self._next and self._fits(pixels)))
            if self._closed:
                raise CancelledError
            self._held[number] = pixels
            self._next += 1
            self._changed.notify_all()

    def release(self, number: int) -> None:
        """Free the pixels of an image."""
        with self._changed:
            del self._held[number]
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel every thread that waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        held = sum(self._held.values())
        return held == 0 or held + pixels <= self._size
