"""Who waits for an origin, and for how long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.origins.patience import Patience


class Waiter:
    def __init__(self) -> None:
        self.over: list[float] = []

    def overdue(self) -> None:
        self.over.append(trio.current_time())


@asynccontextmanager
async def running() -> AsyncIterator[Patience]:
    patience = Patience()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.run)
        yield patience
        nursery.cancel_scope.cancel()


async def test_each_wait_is_over_in_its_own_time(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as patience:
        first, second, short, done = (Waiter() for _ in range(4))
        patience.begin(first, 10)
        await trio.sleep(1)
        patience.begin(second, 10)
        patience.begin(done, 10)
        patience.begin(short, 2)  # it looked for ten seconds to come: now for two
        await trio.sleep(1)
        patience.end(done, 10)
        patience.end(done, 10)
        await trio.sleep(30)
        assert [each.over for each in (first, second, short, done)] == [[10], [11], [3], []]
        patience.end(first, 10)  # who is over may still say that it ends
        patience.begin(first, 5)
        await trio.sleep(30)
        assert first.over == [10, 37]


async def test_nobody_is_looked_for_while_nobody_waits_that_long(autojump_clock: trio.testing.MockClock) -> None:
    looks = 0

    class Counting(Patience):
        def _sweep(self, now: float) -> float:
            nonlocal looks
            looks += 1
            return super()._sweep(now)

    patience = Counting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(1000):
            who = Waiter()
            patience.begin(who, 60)
            await trio.sleep(0.01)
            patience.end(who, 60)
        assert looks == 2  # at the start, and for the first one
        nursery.cancel_scope.cancel()


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from((1, 3, 7)), st.integers(0, 10)), max_size=30
    )
)
def test_as_many_deadlines_of_their_own_would_end_them(waits: list[tuple[int, int, int]]) -> None:
    """(when it begins, for how long it may wait, for how long it does), in halves and whole seconds so that no two meet."""

    async def run() -> None:
        async def wait(begins: float, seconds: int, does: float) -> None:
            await trio.sleep(begins)
            who = Waiter()
            patience.begin(who, seconds)
            await trio.sleep(does)
            patience.end(who, seconds)
            await trio.sleep(60)
            assert who.over == ([begins + seconds] if seconds < does else [])

        async with running() as patience, trio.open_nursery() as all_:
            for begins, seconds, does in waits:
                all_.start_soon(wait, begins, seconds, does + 0.5)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_at_all_is_over_at_once(autojump_clock: trio.testing.MockClock, seconds: float) -> None:
    async with running() as patience:
        who = Waiter()
        patience.begin(who, seconds)
        await trio.sleep(0.1)
        assert who.over == [0]
