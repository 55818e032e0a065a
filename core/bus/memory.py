"""The bus inside one process."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from nova.core import errors
from nova.core.bus.port import (
    AT_ONCE,
    FOLLOWED,
    MAX_DATA,
    NOTHING_SEEN,
    ONCE,
    QUEUE,
    START,
    TICKET,
    Added,
    Cursor,
    Entry,
    Keep,
    Lease,
    Message,
    Page,
    Quota,
    Seen,
    Tail,
    Told,
)
from nova.core.clock import Clock
from nova.core.limits import RateLimit
from nova.core.values import Rate, Seconds

WINDOW: Final = 65536  # entries of a stream
WINDOW_BYTES: Final = 64 * 2**20  # of a stream; the window is for the usual kilobyte, large entries leave sooner
STREAMS: Final = 4096  # their names come from the code, not from users; more of them is a bug
LEASES: Final = 65536  # held at once


class _Subscriber:
    """The messages that wait for one consumer."""

    def __init__(self, queue: int) -> None:
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._queue = queue
        self._missed = 0
        self._bell = trio.Event()

    def offer(self, topic: str, data: bytes) -> None:
        if len(self._waiting) == self._queue:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append((topic, data))
        self._bell.set()

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            await self._bell.wait()
            topic, data = self._waiting.popleft()
            missed, self._missed = self._missed, 0
            if not self._waiting:
                self._bell = trio.Event()
            yield Message(topic, data, missed)


class _Stream:
    """Entries by number from 1; those outside the window are gone."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}
        self.first = 1
        self.next = 1
        self.size_bytes = 0
        self.readers = trio.lowlevel.ParkingLot()


class _Log:
    """One numbered sequence."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(6)
        self.number = 0
        self.lost = 0
        self.entries: OrderedDict[int, bytes] = OrderedDict()
        self.ends = 0.0
        self.once: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.followers: dict[_Follower, None] = {}

    def lose(self, keep: int) -> None:
        while len(self.entries) > keep:
            self.lost, _ = self.entries.popitem(last=False)

    def settle(self, now: float) -> None:
        """What is too old is gone."""
        if self.entries and self.ends <= now:
            self.lose(0)
        while self.once and next(iter(self.once.values()))[1] <= now:
            self.once.popitem(last=False)


class _Follower:
    def __init__(self, logs: dict[str, _Log]) -> None:
        self._logs = logs
        self._mine: set[str] = set()
        self._waiting: deque[Told] = deque()
        self._bell = trio.lowlevel.ParkingLot()

    async def add(self, log: str) -> None:
        await trio.lowlevel.checkpoint()
        self._logs.setdefault(log, _Log()).followers[self] = None
        self._mine.add(log)

    def remove(self, log: str) -> None:
        if log in self._mine:
            self._mine.discard(log)
            self._logs[log].followers.pop(self, None)

    def tell(self, told: Told) -> None:
        if len(self._waiting) >= FOLLOWED:
            self._waiting.clear()
            told = Told("", "", 0, b"")
        self._waiting.append(told)
        self._bell.unpark_all()

    def leave(self) -> None:
        for log in list(self._mine):
            self.remove(log)

    async def __aiter__(self) -> AsyncIterator[Told]:
        while True:
            while not self._waiting:
                await self._bell.park()
            yield self._waiting.popleft()


class MemoryBus:
    """`Bus` without another process. What it keeps ends with it: a cursor of an earlier bus reads as a gap.

    window: entries that a stream keeps.
    """

    def __init__(self, clock: Clock, *, window: int = WINDOW) -> None:
        self._clock = clock
        self._window = window
        self._epoch = secrets.token_hex(4)
        self._subscribers: dict[str, dict[_Subscriber, None]] = {}
        self._streams: dict[str, _Stream] = {}
        self._leases: dict[str, tuple[Lease, float]] = {}
        self._logs: dict[str, _Log] = {}
        self._tables: dict[str, dict[str, bytes]] = {}
        self._token = 0
        self._counts: dict[Rate, RateLimit[tuple[str, str]]] = {}
        self._tickets: OrderedDict[str, float] = OrderedDict()  # until when each can be taken; the oldest first

    async def publish(self, topic: str, data: bytes, *, ticket: str = "") -> int:
        _bounded(data)
        await trio.lowlevel.checkpoint()
        self._expire_tickets()
        if ticket:
            self._tickets[ticket] = self._clock.monotonic() + TICKET
        subscribers = self._subscribers.get(topic, {})
        for subscriber in subscribers:
            subscriber.offer(topic, data)
        return len(subscribers)

    async def take(self, ticket: str, lease: Lease | None = None) -> bool | None:
        await trio.lowlevel.checkpoint()
        self._expire_tickets()
        if lease is not None and not self._held(lease):
            return None
        return self._tickets.pop(ticket, None) is not None

    def _expire_tickets(self) -> None:
        now = self._clock.monotonic()
        while self._tickets and next(iter(self._tickets.values())) <= now:
            self._tickets.popitem(last=False)

    @asynccontextmanager
    async def subscribe(self, topics: Collection[str], *, queue: int = QUEUE) -> AsyncIterator[_Subscriber]:
        await trio.lowlevel.checkpoint()
        subscriber = _Subscriber(queue)
        for topic in topics:
            self._subscribers.setdefault(topic, {})[subscriber] = None
        try:
            yield subscriber
        finally:
            for topic in topics:
                others = self._subscribers[topic]
                others.pop(subscriber, None)
                if not others:
                    del self._subscribers[topic]

    async def append(self, stream: str, data: bytes) -> Cursor:
        _bounded(data)
        await trio.lowlevel.checkpoint()
        found = self._stream(stream)
        number, found.next = found.next, found.next + 1
        found.entries[number] = data
        found.size_bytes += len(data)
        while len(found.entries) > self._window or found.size_bytes > WINDOW_BYTES:
            found.size_bytes -= len(found.entries.pop(found.first))
            found.first += 1
        found.readers.unpark_all()
        return self._cursor(number)

    async def read(self, stream: str, after: Cursor, *, limit: int = 100, wait: Seconds = AT_ONCE) -> Page:
        await trio.lowlevel.checkpoint()
        number = self._number(after)
        found = self._streams.get(stream)
        if wait > 0 and number is not None and (found is None or number + 1 >= found.next):
            found = found or self._stream(stream)
            with trio.move_on_after(wait):
                await found.readers.park()
        if found is None:
            return Page((), after if number is not None else START, number is None)
        first = found.first if number is None else max(number + 1, found.first)
        entries = tuple(Entry(self._cursor(at), found.entries[at]) for at in range(first, min(first + limit, found.next)))
        gap = number is None or number + 1 < found.first
        return Page(entries, entries[-1].cursor if entries else await self.end(stream) if gap else after, gap)

    @asynccontextmanager
    async def listening(self, stream: str) -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        yield

    async def end(self, stream: str) -> Cursor:
        await trio.lowlevel.checkpoint()
        found = self._streams.get(stream)
        return START if found is None or found.next == 1 else self._cursor(found.next - 1)

    async def acquire(self, name: str, holder: str, ttl: Seconds) -> Lease | None:
        await trio.lowlevel.checkpoint()
        now = self._clock.monotonic()
        held = self._leases.get(name)
        if held is not None and held[1] > now:
            return None
        if len(self._leases) >= LEASES:
            self._leases = {key: value for key, value in self._leases.items() if value[1] > now}
            if len(self._leases) >= LEASES:
                raise errors.Unavailable("overloaded", f"{LEASES} leases are held")
        self._token += 1
        lease = Lease(name, holder, self._token)
        self._leases[name] = (lease, now + ttl)
        return lease

    async def renew(self, lease: Lease, ttl: Seconds) -> bool:
        await trio.lowlevel.checkpoint()
        if not self._held(lease):
            return False
        self._leases[lease.name] = (lease, self._clock.monotonic() + ttl)
        return True

    def _held(self, lease: Lease) -> bool:
        held = self._leases.get(lease.name)
        return held is not None and held[0] == lease and held[1] > self._clock.monotonic()

    async def held(self, name: str) -> Seconds | None:
        await trio.lowlevel.checkpoint()
        held = self._leases.get(name)
        left = 0.0 if held is None else held[1] - self._clock.monotonic()
        return Seconds(left) if left > 0 else None

    async def release(self, lease: Lease) -> None:
        await trio.lowlevel.checkpoint()
        held = self._leases.get(lease.name)
        if held is not None and held[0] == lease:
            del self._leases[lease.name]

    async def add(
        self, log: str, data: bytes, keep: Keep, *, once: str = "", kept: bool = True, quotas: Sequence[Quota] = (),
        seen: Seen = NOTHING_SEEN,
    ) -> Added:  # fmt: skip
        _bounded(data)
        await trio.lowlevel.checkpoint()
        found, now = self._log(log), self._clock.monotonic()
        if once and once in found.once:
            return Added(found.epoch, found.once[once][0], again=True)
        self._count(log, quotas, now)
        found.number += 1
        if once:
            found.once[once] = (found.number, now + ONCE)
        found.ends = now + keep.ttl
        if kept:
            found.entries[found.number] = data
            found.lose(keep.items)
        for follower in found.followers:
            follower.tell(Told(log, found.epoch, found.number, data))
        return Added(found.epoch, found.number)

    def _count(self, log: str, quotas: Sequence[Quota], now: float) -> None:
        """Raises RateLimited."""
        limits = [self._counts.setdefault(quota.rate, RateLimit(quota.rate)) for quota in quotas]
        for quota, limit in zip(quotas, limits, strict=True):
            if wait := limit.peek((log, quota.name), now):
                raise errors.RateLimited("rate_limited", f"too many {quota.what}", retry_after=wait)
        for quota, limit in zip(quotas, limits, strict=True):
            limit.take((log, quota.name), now)

    async def note(self, log: str, data: bytes) -> None:
        _bounded(data)
        await trio.lowlevel.checkpoint()
        found = self._log(log)
        for follower in found.followers:
            follower.tell(Told(log, found.epoch, 0, data))

    async def tail(self, log: str, keep: Keep, *, seen: Seen = NOTHING_SEEN) -> Tail:
        await trio.lowlevel.checkpoint()
        found = self._log(log)
        return Tail(found.epoch, found.number, found.lost, tuple(found.entries.items()))

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[_Follower]:
        follower = _Follower(self._logs)
        try:
            yield follower
        finally:
            follower.leave()

    async def put(self, table: str, rows: Mapping[str, bytes]) -> None:
        await trio.lowlevel.checkpoint()
        self._tables.setdefault(table, {}).update(rows)

    async def drop(self, table: str, rows: Collection[str], *, saying: bytes | None = None) -> None:
        await trio.lowlevel.checkpoint()
        found = self._tables.get(table, {})
        for row in rows:
            if saying is None or found.get(row) == saying:
                found.pop(row, None)
        if not found:
            self._tables.pop(table, None)

    async def row(self, table: str, row: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._tables.get(table, {}).get(row)

    async def rows(self, table: str) -> Mapping[str, bytes]:
        await trio.lowlevel.checkpoint()
        return dict(self._tables.get(table, {}))

    def _log(self, name: str) -> _Log:
        found = self._logs.setdefault(name, _Log())
        found.settle(self._clock.monotonic())
        return found

    def _stream(self, name: str) -> _Stream:
        found = self._streams.get(name)
        if found is None:
            if len(self._streams) >= STREAMS:
                raise errors.Unavailable("overloaded", f"there are {STREAMS} streams on the bus")
            found = self._streams[name] = _Stream()
        return found

    def _cursor(self, number: int) -> Cursor:
        return Cursor(f"{self._epoch}-{number}")

    def _number(self, cursor: Cursor) -> int | None:
        """The number of the entry that `cursor` stands behind; None when it comes from an earlier bus."""
        if cursor == START:
            return 0
        epoch, dash, number = cursor.partition("-")
        if not dash or not epoch.isalnum() or not (number.isascii() and number.isdigit()) or len(number) > 18:
            raise errors.BadRequest("bad_cursor", "not a cursor of the bus")
        return int(number) if epoch == self._epoch else None


def _bounded(data: bytes) -> None:
    if len(data) > MAX_DATA:
        raise errors.TooLarge("too_large", f"a message on the bus has at most {MAX_DATA} bytes")
