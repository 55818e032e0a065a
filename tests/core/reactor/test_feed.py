"""One contract for all who follow a sequence: connections on the I/O threads and tasks in trio read the same items by the same rules."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import pytest
import trio
import trio.testing

from nova.core.reactor import Feed
from nova.ext import rtmp
from nova.ext.buffer import Buffer
from tests.core.reactor.served import until
from tests.core.reactor.test_rtmp_sockets import COMMAND, VIDEO, House, Peer, house, split


class Reader(Protocol):
    async def take(self, count: int) -> list[int]:
        """The numbers of the next `count` items; fewer when the sequence ends before."""
        ...


class TaskReader:
    """The trio twin, in the test's own task: what it has not asked for, it does not take."""

    def __init__(self, feed: Feed) -> None:
        self._batches = feed.read()
        self._parse = rtmp.ChunkReader(client=True)
        self._have: list[int] = []
        self.lost = 0

    async def take(self, count: int) -> list[int]:
        while len(self._have) < count:
            with trio.fail_after(10):
                batch = await anext(self._batches, None)
            if batch is None:
                break
            self.lost += batch.lost
            self._have += [number_of(item) for item in batch.items]
        found, self._have = self._have[:count], self._have[count:]
        return found


class SocketReader:
    """A connection on an I/O thread."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def take(self, count: int) -> list[int]:
        return [record.timestamp for record in await self._peer.received(count)]


class Following:
    """A feed, and how to begin to read it."""

    def __init__(self, feed: Feed, join: Callable[[], Awaitable[Reader]]) -> None:
        self.feed, self.join = feed, join

    def append(self, *numbers: int, key: int = 100, size: int = 10) -> None:
        """Every `key`-th item is a key item."""
        for number in numbers:
            self.feed.append(item(number, size), key=number % key == 0)


def item(number: int, size: int = 10) -> bytes:
    return rtmp.encode(VIDEO, number, 1, b"\x27" + number.to_bytes(4, "big") + bytes(size), csid=6, chunk_size=128)


def number_of(encoded: Buffer) -> int:
    return int.from_bytes(bytes(encoded)[13:17], "big")


def test_number_is_where_it_is_looked_for() -> None:
    assert number_of(Buffer(item(77))) == 77
    assert split(b"") == []


@asynccontextmanager
async def following(kind: str, window_items: int = 1000) -> AsyncIterator[Following]:
    async with house(threads=2, running=True) as at, AsyncExitStack() as stack:
        feed = at.made.feed(window_items=window_items, window_bytes=1 << 30)

        async def task() -> Reader:
            reader = TaskReader(feed)
            stack.push_async_callback(reader._batches.aclose)  # type: ignore[attr-defined]
            return reader

        async def socket() -> Reader:
            return SocketReader(await sit_down(at, feed))

        yield Following(feed, task if kind == "task" else socket)


async def sit_down(at: House, feed: Feed) -> Peer:
    known, readers = len(at.handler.batches), feed.sequence.readers
    peer = await at.peer(32768)
    await peer.message((COMMAND, 0, b"play"))
    await until(lambda: len(at.handler.batches) > known)
    at.made.follow(at.handler.conns[-1], feed, b"")
    await until(lambda: feed.sequence.readers > readers or feed.closed)
    return peer


@pytest.fixture(params=["task", "socket"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_reader_begins_at_the_newest_key_item(kind: str) -> None:
    async with following(kind) as on:
        on.append(0, 1, 100, 101, 200, 201, 202)
        assert await (await on.join()).take(3) == [200, 201, 202]


async def test_reader_of_a_sequence_without_key_items_begins_with_what_comes(kind: str) -> None:
    async with following(kind) as on:
        on.append(1, 2, 3)
        reader = await on.join()
        if kind == "task":  # it joins with its first step; make that happen before the next item
            async with trio.open_nursery() as nursery:
                found: list[int] = []

                async def take() -> None:
                    found.extend(await reader.take(2))

                nursery.start_soon(take)
                await trio.testing.wait_all_tasks_blocked()
                on.append(4, 5)
            assert found == [4, 5]
        else:
            on.append(4, 5)
            assert await reader.take(2) == [4, 5]


async def test_every_reader_gets_every_item_once_and_in_order(kind: str) -> None:
    async with following(kind) as on:
        on.append(0)
        readers = [await on.join() for _ in range(5)]
        async with trio.open_nursery() as nursery:
            async def read(reader: Reader) -> None:
                assert await reader.take(1000) == list(range(501))

            for reader in readers:
                nursery.start_soon(read, reader)
            for number in range(1, 501):
                on.append(number)
                if number % 7 == 0:
                    await trio.lowlevel.checkpoint()
            on.feed.close()


async def test_end_comes_behind_the_last_item(kind: str) -> None:
    async with following(kind) as on:
        on.append(0, 1, 2)
        reader = await on.join()
        assert await reader.take(3) == [0, 1, 2]
        on.append(3)
        on.feed.close()
        assert await reader.take(9) == [3]
        assert await reader.take(9) == []
        with pytest.raises(ValueError, match="closed"):
            on.append(4)


async def test_closed_sequence_can_still_be_read(kind: str) -> None:
    async with following(kind) as on:
        on.append(0, 1, 2)
        on.feed.close()
        assert await (await on.join()).take(9) == [0, 1, 2]


async def test_reader_that_falls_behind_goes_on_at_a_key_item_and_the_others_do_not_notice(kind: str) -> None:
    async with following(kind, window_items=150) as on:
        on.append(0)
        slow, fast = await on.join(), await on.join()
        assert await slow.take(1) == [0]
        got: list[int] = []
        for number in range(1, 1000):
            on.append(number, size=20_000)
            if number % 10 == 0:
                got += await fast.take(10)
        assert got == list(range(len(got)))
        on.feed.close()
        rest = await slow.take(10_000)
        assert rest[-1] == 999
        jumps = [(a, b) for a, b in zip([0, *rest], rest, strict=False) if b != a + 1]
        assert jumps
        assert all(b % 100 == 0 for _, b in jumps)


async def test_reader_without_a_key_item_in_the_window_waits_for_one(kind: str) -> None:
    async with following(kind, window_items=20) as on:
        on.append(*range(60))
        reader = await on.join()
        async with trio.open_nursery() as nursery:
            found: list[int] = []

            async def take() -> None:
                found.extend(await reader.take(2))

            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked(0.02)
            on.append(60, 61)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert found == []
            on.append(100, 101)
        assert found == [100, 101]


async def test_task_is_told_how_many_items_it_lost() -> None:
    async with following("task", window_items=10) as on:
        on.append(0, 1)
        reader = await on.join()
        assert isinstance(reader, TaskReader)
        assert await reader.take(2) == [0, 1]
        on.append(*range(2, 101), 101)
        assert await reader.take(2) == [100, 101]
        assert reader.lost == 98


async def test_task_that_stops_reading_is_no_reader_any_more() -> None:
    async with following("task") as on:
        on.append(0)
        reader = await on.join()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.take, 2)
            await trio.testing.wait_all_tasks_blocked()
            assert on.feed.readers == 1
            nursery.cancel_scope.cancel()
        assert on.feed.readers == 0


@pytest.mark.parametrize("broken", [False, True])
def test_bytes_of_a_feed_that_has_ended_wait_for_no_collection(broken: bool) -> None:
    feed = Feed(window_items=0, window_bytes=0)
    feed.append(b"body")
    gone = weakref.ref(feed)
    if broken:
        feed.sequence.close(broken=True)
    else:
        feed.close()
    gc.disable()
    try:
        del feed
        assert gone() is None
    finally:
        gc.enable()
