"""The contract of `Bus`. Every adapter gets it whole; so it says nothing that only one process could promise."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from nova.core import errors
from nova.core.bus import START, Bus, Cursor, MemoryBus, Message
from nova.core.bus.port import MAX_DATA
from nova.core.clock import FakeClock
from nova.core.values import Seconds

WINDOW = 50
Elapse = Callable[[float], Awaitable[None]]


@pytest.fixture(params=["memory"])
def adapter(request: pytest.FixtureRequest) -> tuple[Bus, Elapse]:
    """A bus that keeps about WINDOW entries, and what lets time pass for its leases."""
    clock = FakeClock()

    async def elapse(seconds: float) -> None:
        clock.advance(seconds)

    return MemoryBus(clock, window=WINDOW), elapse


@pytest.fixture
def bus(adapter: tuple[Bus, Elapse]) -> Bus:
    return adapter[0]


@pytest.fixture
def elapse(adapter: tuple[Bus, Elapse]) -> Elapse:
    return adapter[1]


async def first(bus_subscription: object, count: int) -> list[Message]:
    messages: list[Message] = []
    with trio.fail_after(10):
        async for message in bus_subscription:  # type: ignore[attr-defined]
            messages.append(message)
            if len(messages) == count:
                break
    return messages


async def test_every_subscriber_gets_the_messages_of_its_topics_in_order(bus: Bus) -> None:
    await bus.publish("a", b"before anybody listened")
    async with bus.subscribe(["a", "b"]) as both, bus.subscribe(["b"]) as one:
        for number in range(3):
            await bus.publish("a", b"a%d" % number)
            await bus.publish("b", b"b%d" % number)
        await bus.publish("c", b"nobody")
        assert [message.data for message in await first(both, 6)] == [b"a0", b"b0", b"a1", b"b1", b"a2", b"b2"]
        assert [(message.topic, message.data) for message in await first(one, 3)] == [("b", b"b0"), ("b", b"b1"), ("b", b"b2")]


async def test_waiting_subscriber_wakes_and_one_that_left_costs_nothing(bus: Bus) -> None:
    async with trio.open_nursery() as nursery:
        seen: list[Message] = []

        async def listen(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with bus.subscribe(["a"]) as subscription:
                task_status.started()
                seen.extend(await first(subscription, 1))

        await nursery.start(listen)
        await trio.testing.wait_all_tasks_blocked()
        await bus.publish("a", b"now")
    assert [message.data for message in seen] == [b"now"]
    await bus.publish("a", b"nobody")


async def test_slow_subscriber_loses_the_oldest_and_is_told(bus: Bus) -> None:
    async with bus.subscribe(["a"], queue=2) as slow, bus.subscribe(["a"]) as other:
        for number in range(5):
            await bus.publish("a", b"%d" % number)
        # The other one has them all, so they have arrived here too.
        assert len(await first(other, 5)) == 5
        messages = await first(slow, 2)
        assert [message.data for message in messages] == [b"3", b"4"]
        assert messages[0].missed >= 1 and messages[1].missed == 0


async def test_entries_are_read_in_order_and_by_pages(bus: Bus) -> None:
    assert await bus.read("s", START) == await bus.read("s", START)
    assert (await bus.read("s", START)).entries == () and await bus.end("s") == START
    cursors = [await bus.append("s", b"%d" % number) for number in range(10)]
    assert len(set(cursors)) == 10 and await bus.end("s") == cursors[-1]
    page = await bus.read("s", START, limit=4)
    assert [entry.data for entry in page.entries] == [b"0", b"1", b"2", b"3"] and not page.gap
    rest = await bus.read("s", page.cursor)
    assert [entry.cursor for entry in rest.entries] == cursors[4:] and not rest.gap
    end = await bus.read("s", rest.cursor)
    assert end.entries == () and end.cursor == rest.cursor == cursors[-1] and not end.gap
    assert (await bus.read("other", START)).entries == ()


async def test_reader_waits_for_the_next_entry(bus: Bus) -> None:
    pages = []

    async def reader() -> None:
        pages.append(await bus.read("s", START, wait=Seconds(10)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        await bus.append("s", b"now")
    assert [[entry.data for entry in page.entries] for page in pages] == [[b"now"], [b"now"]]
    assert (await bus.read("s", pages[0].cursor, wait=Seconds(0.001))).entries == ()


async def test_reader_that_was_away_too_long_is_told_of_the_gap(bus: Bus) -> None:
    old = await bus.append("s", b"old")
    # Far more than the window: an adapter may keep more than it must, in blocks of a hundred or so.
    latest = [b"%d" % number for number in range(WINDOW * 20)]
    for data in latest:
        await bus.append("s", data)
    for after in (old, START):
        page = await bus.read("s", after, limit=WINDOW * 40)
        assert page.gap
        kept = [entry.data for entry in page.entries]
        assert len(kept) >= WINDOW and kept == latest[-len(kept) :]
    assert not (await bus.read("s", page.entries[0].cursor)).gap


async def test_lease_has_one_holder_until_it_is_released(bus: Bus) -> None:
    lease = await bus.acquire("job", "a", Seconds(10))
    assert lease is not None
    assert await bus.acquire("job", "b", Seconds(10)) is None
    assert await bus.acquire("job", "a", Seconds(10)) is None
    assert await bus.acquire("other", "b", Seconds(10)) is not None
    await bus.release(lease)
    after = await bus.acquire("job", "b", Seconds(10))
    assert after is not None and after.token > lease.token
    await bus.release(lease)
    assert not await bus.renew(lease, Seconds(10))
    assert await bus.acquire("job", "c", Seconds(10)) is None


async def test_lease_expires_unless_it_is_renewed(bus: Bus, elapse: Elapse) -> None:
    lease = await bus.acquire("job", "a", Seconds(0.2))
    assert lease is not None
    assert await bus.renew(lease, Seconds(60))
    await elapse(0.25)
    assert await bus.acquire("job", "b", Seconds(60)) is None
    assert await bus.renew(lease, Seconds(0.05))
    await elapse(0.1)
    assert not await bus.renew(lease, Seconds(60))
    after = await bus.acquire("job", "b", Seconds(60))
    assert after is not None and after.token > lease.token


async def test_large_data_and_foreign_cursors_are_refused(bus: Bus) -> None:
    for call in (bus.publish, bus.append):
        with pytest.raises(errors.TooLarge):
            await call("a", bytes(MAX_DATA + 1))
    for cursor in ("", "x", "1-", "-1", "1-x", "1-\u0662", "1-" + "9" * 40):
        with pytest.raises(errors.BadRequest) as refused:
            await bus.read("a", Cursor(cursor))
        assert refused.value.code == "bad_cursor"


async def test_cursor_of_an_earlier_process_reads_as_a_gap() -> None:
    """Of the bus in memory alone: it is the one that forgets."""
    clock = FakeClock()
    cursor = await MemoryBus(clock).append("s", b"old")
    later = MemoryBus(clock)
    assert (await later.read("s", cursor)).gap
    await later.append("s", b"new")
    page = await later.read("s", cursor, wait=Seconds(10))
    assert page.gap and [entry.data for entry in page.entries] == [b"new"]
