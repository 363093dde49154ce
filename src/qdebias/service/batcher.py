"""Batches of images from many requests: one thread runs the model, and meanwhile the next batch gathers.

Nothing waits for a batch to fill: whenever the model is free, it takes the images that are queued.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from qdebias.image import RgbImage
from qdebias.methods.plan import Failure
from qdebias.runs.scorer import Explanation, Scorer
from qdebias.service.guard import end_process

Made = TypeVar("Made")

SMOOTHING = 0.2  # weight of the newest batch in the running mean of seconds an image


@dataclass(slots=True, eq=False)
class _Job:
    scorer: Scorer
    image: RgbImage
    make: Callable[[Explanation], Any]
    answer: asyncio.Future[Any]


class Batcher:
    """Passes images to their scorers in order, at most `batch` at a time.

    A batch holds images of one scorer. An image whose request is cancelled (a client that left, a deadline) leaves the
    queue. `observe` gets the size and seconds of each batch, `on_broken` an error of the batcher itself.
    """

    def __init__(
        self,
        *,
        batch: int,
        observe: Callable[[int, float], None] = lambda _count, _seconds: None,
        on_broken: Callable[[BaseException], None] = end_process,
    ) -> None:
        self._batch = batch
        self._observe = observe
        self._on_broken = on_broken
        self._jobs: deque[_Job] = deque()
        self._more = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qdebias-model")
        self._task: asyncio.Task[None] | None = None
        self.seconds_an_image = 0.0  # smoothed; 0 before the first

    def start(self) -> None:
        """Start; must be called in the event loop that submits images."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Stop; queued images are not answered."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Number of images that wait for the model."""
        return len(self._jobs)

    async def submit(self, scorer: Scorer, image: RgbImage, make: Callable[[Explanation], Made]) -> Made | Failure:
        """Return `make` of an image's explanation, or why it cannot be scored; raises what the model raised.

        `make` runs in the model's thread, which then also frees the degraded copies: for large images that takes longer
        than the event loop may be blocked.
        """
        job = _Job(scorer, image, make, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._more.set()
        try:
            answer: Made | Failure = await job.answer
            return answer
        finally:
            if job in self._jobs:  # cancelled
                self._jobs.remove(job)

    async def run(self, call: Callable[[], None]) -> None:
        """Run a function in the model's thread, such as one that loads the model."""
        await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _work(self) -> None:
        try:
            while True:
                await self._more.wait()
                if self._jobs:
                    await self._answer_batch()
                else:
                    self._more.clear()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 (out of memory, a panic of a library, a bug)
            self._on_broken(error)

    async def _answer_batch(self) -> None:
        """Answer the first image and those of the same scorer behind it."""
        scorer = self._jobs[0].scorer
        batch = [job for job in self._jobs if job.scorer is scorer][: self._batch]
        for job in batch:
            self._jobs.remove(job)
        start = time.monotonic()
        images, makers = [job.image for job in batch], [job.make for job in batch]
        results = await asyncio.get_running_loop().run_in_executor(self._thread, score_batch, scorer, images, makers)
        seconds = time.monotonic() - start
        weight = SMOOTHING if self.seconds_an_image else 1.0
        self.seconds_an_image += weight * (seconds / len(batch) - self.seconds_an_image)
        self._observe(len(batch), seconds)
        for job, result in zip(batch, results, strict=True):
            if job.answer.done():  # cancelled
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)


def score_batch(
    scorer: Scorer, images: Sequence[RgbImage], makers: Sequence[Callable[[Explanation], Any]]
) -> list[Any | Failure | Exception]:
    """Return what the makers make of each image's explanation; if the model fails on the batch, each is tried alone.

    So an image for which a model returns no finite logits costs the other requests time, but not their scores.
    """
    try:
        results = scorer.explain_many(images, on_error="return")
        return [
            result if isinstance(result, Failure) else make(result)
            for result, make in zip(results, makers, strict=True)
        ]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a model may raise anything; the next images may be sound)
        if len(images) == 1:
            return [error]
        alone = (score_batch(scorer, [image], [make]) for image, make in zip(images, makers, strict=True))
        return [result for results in alone for result in results]
