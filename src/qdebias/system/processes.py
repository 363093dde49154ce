"""Processes: their memory and limits, and the modules of new ones."""

import ctypes
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from mmap import PAGESIZE
from pathlib import Path
from typing import Any

from qdebias.errors import BackendError

resource: Any = None
with suppress(ModuleNotFoundError):  # Windows has none
    resource = import_module("resource")

_STATM = Path("/proc/self/statm")
_MADV_DONTNEED, _MADV_PAGEOUT = 4, 21  # Linux's numbers


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a new process, which imports nothing from the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_path() -> str:
    """Return the PYTHONPATH by which a new process finds the modules of this one, without the current folder."""
    here = Path.cwd()
    folders = [folder for folder in sys.path if Path(folder).is_absolute() and Path(folder) != here]
    return os.pathsep.join([*folders, str(Path(__file__).parents[1])])


def peak_memory() -> int:
    """Return the peak memory of this process in bytes; 0 on Windows, where it is unknown."""
    if resource is None:
        return 0
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int:
    """Return the resident memory of this process in bytes; the peak where it is unknown."""
    return int(_STATM.read_text().split()[1]) * PAGESIZE if _STATM.is_file() else peak_memory()


def address_space() -> int:
    """Return the size of this process's address space in bytes; 1 GiB where it is unknown."""
    return int(_STATM.read_text().split()[0]) * PAGESIZE if _STATM.is_file() else 1 << 30


def page_out(address: int, size: int) -> None:
    """Move the full pages of a block out of memory (on Linux); a later read brings them back."""
    _advise(address, size, _MADV_PAGEOUT)


def drop_pages(address: int, size: int) -> None:
    """Give the full pages of `size` bytes of private memory back to the system (Linux), while other threads run on.

    Their content is lost. Freeing memory does the same, but holds Python's lock: for 22 ms at 240 MB.
    """
    _advise(address, size, _MADV_DONTNEED)


def _advise(address: int, size: int, advice: int) -> None:
    advise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None
    first, end = -(-address // PAGESIZE) * PAGESIZE, (address + size) // PAGESIZE * PAGESIZE
    if advise is not None and end > first:
        advise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), advice)


def limit_process(limits: Mapping[str, int]) -> None:
    """Limit this process for good, by the names of setrlimit ("AS", "NOFILE"); unknown ones are skipped."""
    for name, limit in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            wanted = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(kind, (wanted, wanted))


def return_large_blocks() -> None:
    """Have glibc, if it is the allocator, return freed blocks of 8 MiB and more to the system."""
    with suppress(AttributeError, OSError, TypeError):  # another allocator, or another system
        for name, size in ((-3, 8 << 20), (-1, 16 << 20)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            ctypes.CDLL(None).mallopt(name, size)


def refuse_after_fork() -> None:
    """Refuse to load a model or score images in a fork of a process that has done either.

    A fork lacks the threads of the numeric libraries, and hangs as soon as it waits for one.
    """
    global _worked_in
    if _worked_in not in (None, os.getpid()):
        raise BackendError(
            "a model was loaded or images were scored in this process before it was forked, and numeric libraries hang "
            "in such a copy; load and score in the children alone, or start them with "
            'multiprocessing.set_start_method("spawn")'
        )
    _worked_in = os.getpid()


_worked_in: int | None = None
