"""Compile a loop over pixels with numba when it is first called, so that importing it costs nothing."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compiled(kernel: Callable[P, R]) -> Callable[P, R]:
    """Return `kernel` as machine code: one thread, without the GIL, in strict IEEE arithmetic.

    Numba is loaded, and the kernel compiled, at the first call. The machine code is kept on disk where a folder
    for it can be written, and in memory alone where none can. Strict arithmetic makes the pixels the same on
    every processor.
    """

    @functools.cache
    def machine_code() -> Callable[P, R]:
        import numba

        try:
            code: Callable[P, R] = numba.njit(cache=True, nogil=True)(kernel)
        except RuntimeError:  # numba found no folder that it may write its cache to
            code = numba.njit(nogil=True)(kernel)
        return code

    @functools.wraps(kernel)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return machine_code()(*args, **kwargs)

    return call
