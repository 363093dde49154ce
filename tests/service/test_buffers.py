"""Large memory: filled without being moved, and freed as soon as nothing refers to it."""

import time

import numpy as np
import pytest

from qdebias.service import buffers
from qdebias.service.buffers import LARGE, Upload, freed_aside, freeing_arrays
from qdebias.system.processes import drop_pages, resident_memory
from serving import wait_until


@pytest.mark.parametrize("length", [0, 1, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
def test_an_upload_holds_what_was_written_whatever_its_size(length: int) -> None:
    rng = np.random.default_rng(length)
    written = rng.bytes(length)
    upload, start = Upload(length), 0
    while start < length:
        end = min(length, start + int(rng.integers(1, 50_000)))
        upload.write(written[start:end])
        start = end
    assert len(upload) == length
    assert upload.view == written


def test_arrays_are_freed_when_nothing_refers_to_them_and_not_before() -> None:
    with freeing_arrays():
        kept = freed_aside(np.empty(64 << 20, np.uint8))
        kept[:] = 7
        view = memoryview(kept)[5:10]
        before = resident_memory()
        large = freed_aside(np.empty((4000, 5000, 3), np.uint8))
        large[:] = 1
        assert resident_memory() > before + 50_000_000
        del large
        wait_until(lambda: resident_memory() < before + 10_000_000)
        del kept
        time.sleep(3 * buffers.POLL_SECONDS)
        assert bytes(view) == bytes([7]) * 5
        del view
        wait_until(lambda: not buffers._large)


def test_pages_that_are_dropped_hold_nothing() -> None:
    array = np.full(8 << 20, 3, np.uint8)
    drop_pages(array.ctypes.data + 1, array.nbytes // 2)
    assert array[0] == array[-1] == 3
    assert array[1 << 20] == 0
