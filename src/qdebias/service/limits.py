"""How much may be under way: places that are refused when there are none, amounts that are waited for."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Places:
    """So many places, taken at once or not at all."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    def take(self, amount: int) -> bool:
        """Take places if there are as many; they are to be given back with `free`."""
        if self.taken + amount > self.count:
            return False
        self.taken += amount
        return True

    def free(self, amount: int) -> None:
        """Give places back."""
        self.taken -= amount


@contextmanager
def held(places: Places) -> Iterator["Holding"]:
    """Give back, in the end, every place that was taken meanwhile."""
    holding = Holding(places)
    try:
        yield holding
    finally:
        places.free(holding.amount)


class Holding:
    """What one request has taken so far."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.amount = 0

    def take(self, amount: int) -> bool:
        """Take more, if there is as much."""
        if not self._places.take(amount):
            return False
        self.amount += amount
        return True


class Budget:
    """An amount that is waited for, first come, first served.

    An amount above the whole budget is granted when nothing else is out.

    Args:
        total: The whole amount.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.out = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, amount: int) -> None:
        """Wait until the amount is there and take it; a wait that is cancelled takes nothing."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # granted and cancelled in the same moment
                self.out -= amount
            self._grant()
            raise

    def release(self, amount: int) -> None:
        """Give an amount back."""
        self.out -= amount
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            amount, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif self.out == 0 or self.out + amount <= self._total:
                self._waiting.popleft()
                self.out += amount
                turn.set_result(None)
            else:
                return
