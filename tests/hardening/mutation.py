"""Damage to bytes, drawn by hypothesis."""

from collections.abc import Callable
from functools import reduce
from typing import Any

from hypothesis import HealthCheck, Phase, example, settings
from hypothesis import strategies as st


def mutated(whole: bytes) -> st.SearchStrategy[bytes]:
    """Return the bytes with one to four changes: flipped, cut out, put in, doubled or cut off."""
    place = st.integers(0, len(whole))
    piece = st.binary(max_size=8) | st.sampled_from([b"\0", b"\xff" * 4, b"\n", b'"', b"{", b"[", b"-1", b"9" * 30])
    change = st.tuples(st.sampled_from(["flip", "out", "in", "double", "off"]), place, st.integers(1, 64), piece)
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _changed(whole, changes))


def _changed(data: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, place, size, piece in changes:
        here, end = min(place, len(data)), min(place + size, len(data))
        middle = {
            "flip": bytes(byte ^ size for byte in data[here : here + 1]) + data[here + 1 : end],
            "out": b"",
            "in": piece + data[here:end],
            "double": data[here:end] * 2,
            "off": data[here:end],
        }[kind]
        data = data[:here] + middle + (b"" if kind == "off" else data[end:])
    return data


def always(*cases: object) -> Callable[[Any], Any]:
    """Return a decorator by which these are tried each time beside what is drawn: in some, something was found once."""
    return lambda test: reduce(lambda inner, case: example(case)(inner), cases, test)


def examples(number: int) -> settings:
    """Return settings that try as many examples, the same each time."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),  # to explain a failure would take many more trials
        suppress_health_check=list(HealthCheck),
    )
