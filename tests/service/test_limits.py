import asyncio
from contextlib import ExitStack

from qdebias.service.limits import Budget, Places


def test_places_are_given_all_or_none_and_come_back() -> None:
    places = Places(5)
    with ExitStack() as first, ExitStack() as second:
        assert places.take(3, first)
        assert not places.take(3, second)
        assert places.take(2, second)
        assert places.taken == 5
    assert places.taken == 0


def test_a_budget_is_waited_for_in_order() -> None:
    async def story() -> list[str]:
        budget, told = Budget(10), []

        async def use(name: str, amount: int) -> None:
            await budget.acquire(amount)
            told.append(name)
            await asyncio.sleep(0)
            budget.release(amount)

        await asyncio.gather(use("large", 9), use("also large", 9), use("small", 1))
        assert budget.out == 0
        return told

    assert asyncio.run(story()) == ["large", "also large", "small"]


def test_more_than_the_whole_budget_is_granted_alone() -> None:
    async def story() -> None:
        budget = Budget(10)
        await budget.acquire(1)
        waiting = asyncio.ensure_future(budget.acquire(50))
        await asyncio.sleep(0)
        assert not waiting.done()
        budget.release(1)
        await waiting
        assert budget.out == 50

    asyncio.run(story())


def test_a_wait_that_is_cancelled_takes_nothing_and_lets_others_pass() -> None:
    async def story() -> None:
        budget = Budget(10)
        await budget.acquire(9)
        large, small = asyncio.ensure_future(budget.acquire(5)), asyncio.ensure_future(budget.acquire(1))
        await asyncio.sleep(0)
        large.cancel()
        await small
        assert budget.out == 10

        granted = asyncio.ensure_future(budget.acquire(2))
        await asyncio.sleep(0)
        budget.release(2)  # granted, but not yet resumed
        granted.cancel()
        await asyncio.gather(granted, return_exceptions=True)
        assert budget.out == 8

    asyncio.run(story())
