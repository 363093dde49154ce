import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from qdebias.backends.fake import FakeBackend, digest_logits
from qdebias.errors import BackendError
from qdebias.image import RgbImage, digest
from qdebias.methods.plan import Failure
from qdebias.prompts import Request
from qdebias.runs.scorer import Explanation, Scorer
from qdebias.service.batcher import Batcher
from serving import Gated, noise


def with_batcher(use: Callable[[Batcher], Awaitable[None]], **settings: object) -> None:
    async def story() -> None:
        batcher = Batcher(**{"batch": 4, **settings})  # type: ignore[arg-type]
        batcher.start()
        try:
            await use(batcher)
        finally:
            await batcher.stop()

    asyncio.run(story())


def whole(found: Explanation) -> Explanation:
    return found


def value(result: object) -> float:
    assert isinstance(result, Explanation)
    return result.score.value


def test_nothing_of_an_image_is_kept_once_it_is_answered() -> None:
    async def use(batcher: Batcher) -> None:
        image = noise(0)
        result = await batcher.submit(Scorer(backend=FakeBackend()), image, whole)
        assert isinstance(result, Explanation)
        held = [weakref.ref(one) for one in (image, *(condition.image for condition in result.plan.conditions))]
        assert len(held) == 5
        del image, result
        await asyncio.sleep(0.05)
        gc.collect()
        assert [one() is None for one in held] == [True] * 5

    with_batcher(use)


def test_images_of_many_go_to_the_model_together_and_each_gets_its_own_score() -> None:
    backend = Gated()
    scorer = Scorer(backend=backend, method="vanilla")
    seen: list[int] = []

    async def use(batcher: Batcher) -> None:
        first = asyncio.ensure_future(batcher.submit(scorer, noise(0), whole))
        await asyncio.to_thread(backend.busy.wait)
        rest = [asyncio.ensure_future(batcher.submit(scorer, noise(seed), whole)) for seed in range(1, 7)]
        await asyncio.sleep(0)
        for _ in range(3):
            backend.gate.release()
        results = await asyncio.gather(first, *rest)
        direct = Scorer(backend=FakeBackend(), method="vanilla")
        assert [value(result) for result in results] == [direct.score(noise(seed)).value for seed in range(7)]

    with_batcher(use, observe=lambda count, _: seen.append(count))
    assert backend.batches == seen == [1, 4, 2]


def test_a_batch_holds_images_of_one_method() -> None:
    backend = Gated()
    one, two = (Scorer(backend=backend, method=name) for name in ("vanilla", "qbench"))

    async def use(batcher: Batcher) -> None:
        first = asyncio.ensure_future(batcher.submit(one, noise(0), whole))
        await asyncio.to_thread(backend.busy.wait)
        rest = [asyncio.ensure_future(batcher.submit(scorer, noise(1), whole)) for scorer in (one, two, one, two)]
        await asyncio.sleep(0)
        for _ in range(3):
            backend.gate.release()
        await asyncio.gather(first, *rest)

    with_batcher(use)
    assert backend.batches == [1, 2, 2]


def test_whoever_leaves_takes_his_image_out_of_the_queue() -> None:
    backend = Gated()
    scorer = Scorer(backend=backend, method="vanilla")

    async def use(batcher: Batcher) -> None:
        first = asyncio.ensure_future(batcher.submit(scorer, noise(0), whole))
        await asyncio.to_thread(backend.busy.wait)
        leaving, staying = (asyncio.ensure_future(batcher.submit(scorer, noise(seed), whole)) for seed in (1, 2))
        await asyncio.sleep(0)
        first.cancel()  # its image is with the model already
        leaving.cancel()
        await asyncio.gather(first, leaving, return_exceptions=True)
        assert batcher.waiting == 1
        backend.gate.release()
        backend.gate.release()
        assert value(await staying) == Scorer(backend=FakeBackend(), method="vanilla").score(noise(2)).value

    with_batcher(use)
    assert backend.batches == [1, 1]


def test_an_image_on_which_the_model_fails_does_not_fail_those_beside_it() -> None:
    poison = digest(noise(1))

    def answer(request: Request, question: object) -> Sequence[float]:
        if digest(request.images[-1]) == poison:
            raise BackendError("logits [nan nan]")
        return digest_logits(request, question)  # type: ignore[arg-type]

    scorer = Scorer(backend=FakeBackend(answer=answer, failing=[digest(noise(2))]), method="vanilla")

    async def use(batcher: Batcher) -> None:
        jobs = [batcher.submit(scorer, noise(seed), whole) for seed in range(4)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert isinstance(results[1], BackendError)
        assert isinstance(results[2], Failure)
        assert [value(results[place]) for place in (0, 3)]  # type: ignore[arg-type]

    with_batcher(use)


def test_a_fault_is_told_to_those_who_asked_and_the_thread_goes_on() -> None:
    broken = Scorer(backend=FakeBackend(answer=lambda _request, _question: [][0]), method="vanilla")
    sound = Scorer(backend=FakeBackend(), method="vanilla")

    async def use(batcher: Batcher) -> None:
        with pytest.raises(IndexError):
            await batcher.submit(broken, noise(0), whole)
        assert np.isfinite(value(await batcher.submit(sound, noise(0), whole)))
        assert batcher.seconds_an_image > 0

    with_batcher(use)


def test_a_fault_of_the_batcher_itself_is_told_to_whoever_ends_the_process() -> None:
    told: list[BaseException] = []

    def observe(_count: int, _seconds: float) -> None:
        raise ZeroDivisionError

    async def use(batcher: Batcher) -> None:
        job = asyncio.ensure_future(batcher.submit(Scorer(backend=FakeBackend()), noise(0), whole))
        while not told:
            await asyncio.sleep(0.01)
        job.cancel()

    with_batcher(use, observe=observe, on_broken=told.append)
    assert [type(error) for error in told] == [ZeroDivisionError]


def test_what_is_wanted_is_made_where_the_model_runs_and_copies_are_given_back_there() -> None:
    copies: list[weakref.ref[RgbImage]] = []

    def make(found: Explanation) -> str:
        copies.extend(weakref.ref(condition.image) for condition in found.plan.conditions)
        return threading.current_thread().name

    async def use(batcher: Batcher) -> None:
        assert str(await batcher.submit(Scorer(backend=FakeBackend()), noise(0), make)).startswith("qdebias-model")
        assert len(copies) == 4
        for _ in range(500):
            if all(copy() is None for copy in copies):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the copies are kept")

    with_batcher(use)
