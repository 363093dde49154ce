"""Large memory that is filled and freed without holding up the event loop.

A bytearray of many megabytes is copied as it grows, and freeing it holds Python's lock while the system takes its pages
back: 20 to 60 ms in one call.
"""

import mmap
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import numpy as np

from qdebias.system.processes import drop_pages

LARGE = 1 << 20  # bytes
POLL_SECONDS = 0.1

_large: deque[np.ndarray] = deque()


def freed_aside(array: np.ndarray) -> np.ndarray:
    """Return an array of bytes, after leaving it to `freeing_arrays` to free it."""
    if array.nbytes >= LARGE:
        _large.append(array)
    return array


@contextmanager
def freeing_arrays() -> Iterator[None]:
    """Free the arrays of `freed_aside` in a thread, each as soon as nothing else refers to it."""
    stop = Event()

    def free() -> None:
        while not stop.wait(POLL_SECONDS):
            for _ in range(len(_large)):
                array = _large.popleft()
                if sys.getrefcount(array) > 2:  # the variable, and the argument
                    _large.append(array)
                else:
                    drop_pages(array.ctypes.data, array.nbytes)
                del array

    thread = Thread(target=free, name="qdebias-free", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Upload:
    """The bytes of a file, at most `most`, written piece by piece; with `base64`, a JSON string that holds them so."""

    def __init__(self, most: int, *, base64: bool = False) -> None:
        self.base64 = base64
        self._most, self._length = most, 0
        self._memory: bytearray | np.ndarray = bytearray()

    def __len__(self) -> int:
        return self._length

    def write(self, piece: bytes | memoryview) -> None:
        """Add bytes."""
        end = self._length + len(piece)
        if isinstance(self._memory, bytearray) and end <= LARGE:
            self._memory += piece
        else:
            if isinstance(self._memory, bytearray):
                start, self._memory = self._memory, freed_aside(_small_pages(self._most))
                self._memory[: self._length] = start
            self._memory[self._length : end] = np.frombuffer(piece, dtype=np.uint8)
        self._length = end

    @property
    def view(self) -> memoryview:
        """The bytes that were written."""
        memory = memoryview(self._memory) if isinstance(self._memory, bytearray) else self._memory.data
        return memory[: self._length]


def _small_pages(size: int) -> np.ndarray:
    """Return memory that is filled page by page; NumPy's has huge pages, of which a single one may take 20 ms."""
    private = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    return np.frombuffer(mmap.mmap(-1, size, **private), dtype=np.uint8)
