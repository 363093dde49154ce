"""Whether the engine's time per image and its memory stay the same however long the list is, with no model at all."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.cli.benchmark.images import photo_like
from qdebias.image import RgbImage
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer
from qdebias.system.processes import peak_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One length of list.

    Attributes:
        images: How many were scored.
        milliseconds_per_image: Degrading, asking a backend that answers at once, and combining.
        process_memory_bytes: The most that the process has ever held; it never falls from one length to the next.
    """

    images: int
    milliseconds_per_image: float
    process_memory_bytes: int


def measure_scale(lengths: Sequence[int] = (10, 100, 1000, 10_000), *, side: int = 64) -> Iterator[Scale]:
    """Yield a line for each length of list, as it is measured.

    Args:
        lengths: Ascending, since memory is the most so far.
        side: Images are squares of sides from this to twice this.
    """
    scorer = Scorer(backend=Instant())
    for length in lengths:
        start = time.perf_counter()
        for _ in scorer.score_many(_images(length, side)):
            pass
        spent = time.perf_counter() - start
        yield Scale(images=length, milliseconds_per_image=1000 * spent / length, process_memory_bytes=peak_memory())


class Instant:
    """Answers at once and remembers nothing."""

    fingerprint = Fingerprint(identity={"backend": "benchmark"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return no preference for any option."""
        return [[np.zeros(len(question.options)) for question in request.questions] for request in requests]


def _images(count: int, side: int) -> Iterator[RgbImage]:
    return (photo_like(seed, side + seed % side, side + seed * 7 % side) for seed in range(count))
