"""The bus on Redis (7 or newer): joins the processes of one Nova.

Streams are Redis streams under their own name with the field `event`, for the other services of the platform read and write them too;
sharded pub/sub rings the bell for those who wait, and brings them our own entries; it carries topics too. A log is a stream whose ids are
its numbers, written by one script that also numbers and tells; so what followers hear is in the order of the numbers. Everything else is
under `nova:`.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import dropwhile, islice
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
from nova.core.bus.redis import RETRY_AFTER, TIMEOUT, Link, Script
from nova.core.secret import SecretUrl
from nova.core.values import Rate, Seconds

FIELD: Final = "event"
POLL: Final = 1.0  # seconds after which a waiting reader looks without a bell: other services do not ring it
BROUGHT: Final = 256  # entries that a bell remembers ...
BROUGHT_BYTES: Final = 2**20  # ... and their bytes; who is further behind asks Redis
META_TTL_MS: Final = 7 * 86_400_000  # a log that nobody wrote to or asked for is forgotten: it begins anew, with another epoch
_CURSOR: Final = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")

_ACQUIRE: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token .. ' ' .. ARGV[1], 'PX', ARGV[2])
return token
""")
_RENEW: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
_RELEASE: Final = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
""")
# KEYS: stream, bell. The bell says which entry stands before this one: whoever has that one has missed nothing.
_APPEND: Final = Script("""
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', ARGV[2], ARGV[3])
redis.call('SPUBLISH', KEYS[2], (last and last[1] or '-') .. ' ' .. id .. ' ' .. ARGV[3])
return id
""")
_DROP: Final = Script("""
for at = 2, #ARGV do
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
end
return 0
""")
# KEYS: ticket, lease. ARGV: what the lease must say; nothing: there is none.
_TAKE: Final = Script("""
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
return redis.call('DEL', KEYS[1])
""")
# meta: e epoch, n number of the newest, k how many were kept. A log that has not got as far as was seen (epoch, number, named), or keeps
# something else there (kept, digest), lost what it had acknowledged.
_EPOCH: Final = """
local function epoch_of(fresh, e, n, named, kept, digest)
  local epoch = redis.call('HGET', KEYS[1], 'e')
  local back = false
  if epoch and epoch == e then
    back = tonumber(redis.call('HGET', KEYS[1], 'n') or '0') < tonumber(n)
    if not back and digest ~= '' then
      local found = redis.call('XRANGE', KEYS[2], kept .. '-0', kept .. '-0')[1]
      back = found and redis.sha1hex(found[2][2]) ~= digest
    end
  end
  if epoch and not back then return epoch end
  redis.call('HSET', KEYS[1], 'e', fresh)
  if not epoch or named == '1' then redis.call('DEL', KEYS[2]) end
  return fresh
end
"""
# KEYS: meta, stream, live channel, once, and the quotas', each with two ARGV behind the eleventh, in microseconds: what one entry costs,
# and the burst. They are counted as core.limits does.
_ADD: Final = Script(_EPOCH + """\
if ARGV[4] ~= '' then
  local seen = redis.call('GET', KEYS[4])
  if seen then return {seen, 1} end
end
if #KEYS > 4 then
  local time = redis.call('TIME')
  local now, full = time[1] * 1000000 + time[2], {}
  for at = 5, #KEYS do
    local burst = tonumber(ARGV[2 * at + 3])
    local before = math.min(tonumber(redis.call('GET', KEYS[at]) or now), now + burst)
    full[at] = math.max(before, now) + tonumber(ARGV[2 * at + 2])
    if full[at] > now + burst then return {'', at - 5, string.format('%.0f', full[at] - now - burst)} end
  end
  for at = 5, #KEYS do
    redis.call('SET', KEYS[at], string.format('%.0f', full[at]), 'PX', math.ceil((full[at] - now) / 1000))
  end
end
local epoch = epoch_of(ARGV[2], ARGV[9], ARGV[10], ARGV[11], 0, '')
local number = redis.call('HINCRBY', KEYS[1], 'n', 1)
if ARGV[6] == '1' then
  redis.call('HINCRBY', KEYS[1], 'k', 1)
  if tonumber(ARGV[3]) > 0 then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], number .. '-0', 'd', ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[7])
local place = epoch .. ' ' .. number
if ARGV[4] ~= '' then redis.call('SET', KEYS[4], place, 'PX', ARGV[8]) end
redis.call('SPUBLISH', KEYS[3], place .. ' ' .. ARGV[1])
return {place, 0}
""")
_TAIL: Final = Script(_EPOCH + """\
local epoch = epoch_of(ARGV[1], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local meta = redis.call('HMGET', KEYS[1], 'n', 'k')
local length = redis.call('XLEN', KEYS[2])
return {epoch, meta[1] or '0', meta[2] or '0', length, redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[3])}
""")


class _Subscriber:
    """The messages that wait for one consumer."""

    def __init__(self, queue: int) -> None:
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._queue = queue
        self.missed = 0
        self._bell = trio.lowlevel.ParkingLot()

    def offer(self, topic: str, data: bytes) -> None:
        if len(self._waiting) == self._queue:
            self._waiting.popleft()
            self.missed += 1
        self._waiting.append((topic, data))
        self._bell.unpark_all()

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            while not self._waiting:
                await self._bell.park()
            topic, data = self._waiting.popleft()
            missed, self.missed = self.missed, 0
            yield Message(topic, data, missed)


class _Follower:
    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus
        self._waiting: deque[Told] = deque()
        self._bell = trio.lowlevel.ParkingLot()
        self.logs: set[str] = set()

    async def add(self, log: str) -> None:
        if log not in self.logs:
            await self._bus.hear(_live(log), self)
            self.logs.add(log)

    def remove(self, log: str) -> None:
        if log in self.logs:
            self.logs.discard(log)
            self._bus.unhear(_live(log), self)

    def tell(self, told: Told) -> None:
        if len(self._waiting) >= FOLLOWED:
            self._waiting.clear()
            told = Told("", "", 0, b"")
        self._waiting.append(told)
        self._bell.unpark_all()

    async def __aiter__(self) -> AsyncIterator[Told]:
        while True:
            while not self._waiting:
                await self._bell.park()
            yield self._waiting.popleft()


class _Bell:
    """Readers that wait for a stream, and the entries that were heard of, in one piece.

    rung: how often. before: the cursor of the entry before the first of them; last: of the last one.
    """

    def __init__(self) -> None:
        self.readers = trio.lowlevel.ParkingLot()
        self.rung = 0
        self.before = self.last = Cursor("")
        self._brought: deque[Entry] = deque()
        self._size = 0

    def ring(self, data: bytes) -> None:
        parts = data.split(b" ", 2)
        if len(parts) != 3:  # a node of another version rang: there is something, and it says no more
            self.missed()
            return
        before, id, entry = parts
        if before.decode() != self.last:
            self._forget()
            self.before = Cursor(before.decode())
        self.last = Cursor(id.decode())
        self._brought.append(Entry(self.last, entry))
        self._size += len(entry)
        while len(self._brought) > BROUGHT or (self._size > BROUGHT_BYTES and len(self._brought) > 1):
            gone = self._brought.popleft()
            self.before = gone.cursor
            self._size -= len(gone.data)
        self._wake()

    def missed(self) -> None:
        """Nobody knows what: who waits looks."""
        self._forget()
        self.before = self.last = Cursor("")
        self._wake()

    def behind(self, after: Cursor, limit: int) -> tuple[Entry, ...]:
        """What is known to follow `after` directly."""
        if after == self.before:
            return tuple(islice(self._brought, limit))
        if after == self.last:
            return ()
        found = dropwhile(lambda entry: entry.cursor != after, self._brought)
        return tuple(islice(found, 1, limit + 1))

    def _forget(self) -> None:
        self._brought.clear()
        self._size = 0

    def _wake(self) -> None:
        self.rung += 1
        self.readers.unpark_all()


_Ear = _Subscriber | _Follower | _Bell


class RedisBus:
    """`Bus` over Redis; see core.bus.port. Open while `opened` is entered.

    window: entries that a stream keeps. timeout: seconds that Redis may take to connect or to answer.
    """

    def __init__(self, url: SecretUrl, *, window: int = 65536, timeout: float = TIMEOUT) -> None:
        """Raises ValueError: not a Redis URL."""
        self._window = window
        self._link = Link(url, self._heard, self._interrupted, timeout=timeout)
        self._ears: dict[str, dict[_Ear, None]] = {}
        self._bells: dict[str, list[_Bell]] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with self._link.opened():
            yield

    @property
    def up(self) -> bool:
        """Whether the last attempt reached it."""
        return self._link.up

    async def ping(self) -> None:
        """Raises Unavailable."""
        await self._link.one("PING")

    # -- topics ------------------------------------------------------------------------------------------------------------

    async def publish(self, topic: str, data: bytes, *, ticket: str = "") -> int:
        _bounded(data)
        if ticket:
            kept, heard = await self._link.call(("SET", _ticket(ticket), b"", "PX", _ms(TICKET)), ("SPUBLISH", _topic(topic), data))
            if isinstance(kept, Exception) or isinstance(heard, Exception):
                raise errors.Unavailable("unavailable", "Redis refuses a message", retry_after=RETRY_AFTER)
            return int(heard)
        return int(await self._link.one("SPUBLISH", _topic(topic), data))

    async def take(self, ticket: str, lease: Lease | None = None) -> bool | None:
        name, says = ("", "") if lease is None else (lease.name, _says(lease))
        taken = await self._link.run(_TAKE, 2, _ticket(ticket), _lease(name), says)
        return None if taken < 0 else bool(taken)

    @asynccontextmanager
    async def subscribe(self, topics: Collection[str], *, queue: int = QUEUE) -> AsyncIterator[_Subscriber]:
        subscriber = _Subscriber(queue)
        heard: list[str] = []
        try:
            for topic in topics:
                heard.append(_topic(topic))
                await self.hear(_topic(topic), subscriber)
            yield subscriber
        finally:
            for channel in heard:
                self.unhear(channel, subscriber)

    # -- streams -----------------------------------------------------------------------------------------------------------

    async def append(self, stream: str, data: bytes) -> Cursor:
        _bounded(data)
        id = await self._link.run(_APPEND, 2, stream, _bell(stream), self._window, FIELD, data)
        return Cursor(id.decode())

    async def read(self, stream: str, after: Cursor, *, limit: int = 100, wait: Seconds = AT_ONCE) -> Page:
        if after != START and not _CURSOR.fullmatch(after):
            raise errors.BadRequest("bad_cursor", "not a cursor of the bus")
        if wait > 0 and (bells := self._bells.get(stream)):
            return await self._await(bells[0], stream, after, limit, wait)
        page = await self._read(stream, after, limit)
        if page.entries or page.gap or wait <= 0:
            return page
        async with self._listening(stream) as bell:
            return await self._await(bell, stream, after, limit, wait)

    async def _await(self, bell: _Bell, stream: str, after: Cursor, limit: int, wait: Seconds) -> Page:
        """Redis is asked when the bell does not say what stands behind `after`, or was silent for `POLL`."""
        known = after == bell.last
        with trio.move_on_after(wait):
            while True:
                if found := bell.behind(after, limit):
                    return Page(found, found[-1].cursor, False)
                rung = bell.rung
                if not known:
                    page = await self._read(stream, after, limit)
                    if page.entries or page.gap:
                        return page
                known = False
                with trio.move_on_after(POLL):
                    while bell.rung == rung:
                        await bell.readers.park()
        return Page((), after, False)

    @asynccontextmanager
    async def listening(self, stream: str) -> AsyncIterator[None]:
        async with self._listening(stream):
            yield

    @asynccontextmanager
    async def _listening(self, stream: str) -> AsyncIterator[_Bell]:
        bell, channel = _Bell(), _bell(stream)
        await self.hear(channel, bell)
        self._bells.setdefault(stream, []).append(bell)
        try:
            yield bell
        finally:
            self._bells[stream].remove(bell)
            if not self._bells[stream]:
                del self._bells[stream]
            self.unhear(channel, bell)

    async def _read(self, stream: str, after: Cursor, limit: int) -> Page:
        begins = after == START
        found, known = await self._link.call(
            ("XRANGE", stream, "-" if begins else f"({after}", "+", "COUNT", limit),
            ("XINFO", "STREAM", stream) if begins else ("XRANGE", stream, after, after, "COUNT", 1),
        )
        if isinstance(found, Exception):
            raise errors.BadRequest("bad_cursor", "not a cursor of the bus")
        entries = tuple(Entry(Cursor(id.decode()), _field(fields)) for id, fields in found)
        if begins:
            facts = {} if isinstance(known, Exception) else dict(zip(known[::2], known[1::2], strict=True))
            gap = int(facts.get(b"entries-added", 0)) > int(facts.get(b"length", 0))
        else:
            gap = not known  # the entry that it stands behind is gone, and nobody knows what else
        if entries or not gap:
            return Page(entries, entries[-1].cursor if entries else after, gap)
        last = await self._last(stream)
        return Page((), last, last != after)

    async def end(self, stream: str) -> Cursor:
        found = await self._link.one("XREVRANGE", stream, "+", "-", "COUNT", 1)
        return Cursor(found[0][0].decode()) if found else await self._last(stream)

    async def _last(self, stream: str) -> Cursor:
        """The place behind everything that was ever written to a stream without entries: somebody has trimmed it to nothing, or there is
        none."""
        (found,) = await self._link.call(("XINFO", "STREAM", stream))
        last = "" if isinstance(found, Exception) else dict(zip(found[::2], found[1::2], strict=True))[b"last-generated-id"].decode()
        return Cursor(last) if last not in ("", "0-0") else START

    # -- leases ------------------------------------------------------------------------------------------------------------

    async def acquire(self, name: str, holder: str, ttl: Seconds) -> Lease | None:
        token = await self._link.run(_ACQUIRE, 2, _lease(name), "nova:lease-token", holder, _ms(ttl))
        return Lease(name, holder, token) if token else None

    async def renew(self, lease: Lease, ttl: Seconds) -> bool:
        return bool(await self._link.run(_RENEW, 1, _lease(lease.name), _says(lease), _ms(ttl)))

    async def held(self, name: str) -> Seconds | None:
        left_ms = await self._link.one("PTTL", _lease(name))
        return Seconds(left_ms / 1000) if left_ms > 0 else None

    async def release(self, lease: Lease) -> None:
        await self._link.run(_RELEASE, 1, _lease(lease.name), _says(lease))

    # -- logs --------------------------------------------------------------------------------------------------------------

    async def add(
        self, log: str, data: bytes, keep: Keep, *, once: str = "", kept: bool = True, quotas: Sequence[Quota] = (),
        seen: Seen = NOTHING_SEEN,
    ) -> Added:  # fmt: skip
        _bounded(data)
        counts = [f"nova:{{{log}}}:q:{quota.name}" for quota in quotas]
        rates = [part for quota in quotas for part in _costs(quota.rate)]
        place, again, *wait_us = await self._link.run(
            _ADD, 4 + len(counts), f"nova:{{{log}}}:m", f"nova:{{{log}}}:s", _live(log), f"nova:{{{log}}}:o:{once}", *counts,
            data, secrets.token_hex(6), keep.items, once, _ms(keep.ttl), int(kept), META_TTL_MS + _ms(keep.ttl), _ms(ONCE),
            seen.epoch, seen.number, int(seen.named), *rates,
        )  # fmt: skip
        if not place:
            raise errors.RateLimited("rate_limited", f"too many {quotas[again].what}", retry_after=max(1, int(wait_us[0])) / 1e6)
        epoch, _, number = place.decode().partition(" ")
        return Added(epoch, int(number), bool(again))

    async def note(self, log: str, data: bytes) -> None:
        _bounded(data)
        await self._link.one("SPUBLISH", _live(log), b"- 0 " + data)

    async def tail(self, log: str, keep: Keep, *, seen: Seen = NOTHING_SEEN) -> Tail:
        epoch, number, kept, length, found = await self._link.run(
            _TAIL, 2, f"nova:{{{log}}}:m", f"nova:{{{log}}}:s", secrets.token_hex(6), META_TTL_MS + _ms(keep.ttl),
            max(1, keep.items), seen.epoch, seen.number, int(seen.named), seen.kept, seen.digest,
        )  # fmt: skip
        entries = tuple((int(id.partition(b"-")[0]), fields[1]) for id, fields in reversed(found))
        lost = 0
        if int(kept) > len(entries) or int(kept) > length:
            lost = entries[0][0] - 1 if entries else int(number)
        return Tail(epoch.decode(), int(number), lost, entries)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[_Follower]:
        follower = _Follower(self)
        try:
            yield follower
        finally:
            for log in list(follower.logs):
                follower.remove(log)

    # -- tables ------------------------------------------------------------------------------------------------------------

    async def put(self, table: str, rows: Mapping[str, bytes]) -> None:
        if rows:
            await self._link.one("HSET", f"nova:table:{table}", *(part for row in rows.items() for part in row))

    async def drop(self, table: str, rows: Collection[str], *, saying: bytes | None = None) -> None:
        if rows and saying is not None:
            await self._link.run(_DROP, 1, f"nova:table:{table}", saying, *rows)
        elif rows:
            await self._link.one("HDEL", f"nova:table:{table}", *rows)

    async def row(self, table: str, row: str) -> bytes | None:
        found = await self._link.one("HGET", f"nova:table:{table}", row)
        return None if found is None else bytes(found)

    async def rows(self, table: str) -> Mapping[str, bytes]:
        found = await self._link.one("HGETALL", f"nova:table:{table}")
        return {row.decode(): data for row, data in zip(found[::2], found[1::2], strict=True)}

    # -- listening ---------------------------------------------------------------------------------------------------------

    async def hear(self, channel: str, ear: _Ear) -> None:
        """From its return on `ear` is told what comes on `channel`. Raises Unavailable."""
        self._ears.setdefault(channel, {})[ear] = None
        try:
            await self._link.listen(channel)
        except BaseException:
            self.unhear(channel, ear)
            raise

    def unhear(self, channel: str, ear: _Ear) -> None:
        ears = self._ears.get(channel)
        if ears is not None:
            ears.pop(ear, None)
            if not ears:
                del self._ears[channel]
                self._link.unlisten(channel)

    def _heard(self, messages: list[tuple[str, bytes]]) -> None:
        for channel, data in messages:
            for ear in list(self._ears.get(channel, ())):
                if isinstance(ear, _Subscriber):
                    ear.offer(channel.removeprefix(_topic("")), data)
                elif isinstance(ear, _Bell):
                    ear.ring(data)
                else:
                    epoch, number, entry = data.split(b" ", 2)
                    ear.tell(Told(channel.removeprefix("nova:{").removesuffix("}:l"), epoch.decode(), int(number), entry))

    def _interrupted(self) -> None:
        """Messages were missed: nobody knows which."""
        told: set[_Ear] = set()
        for ears in list(self._ears.values()):
            for ear in list(ears):
                if isinstance(ear, _Bell):
                    ear.missed()
                elif isinstance(ear, _Subscriber):
                    ear.missed += 1
                elif ear not in told:
                    told.add(ear)
                    ear.tell(Told("", "", 0, b""))


def _topic(topic: str) -> str:
    return f"nova:topic:{topic}"


def _bell(stream: str) -> str:
    return f"nova:bell:{stream}"


def _live(log: str) -> str:
    return f"nova:{{{log}}}:l"


def _lease(name: str) -> str:
    return f"nova:lease:{name}"


def _says(lease: Lease) -> str:
    return f"{lease.token} {lease.holder}"


def _ticket(name: str) -> str:
    return f"nova:ticket:{name}"


def _costs(rate: Rate) -> tuple[int, int]:
    """One entry and the burst, in microseconds."""
    return max(1, int(rate.per * 1e6 / rate.events)), int(rate.per * 1e6)


def _ms(seconds: Seconds) -> int:
    return max(1, int(seconds * 1000))


def _field(fields: list[bytes]) -> bytes:
    """The field `event`; other services may add more of their own."""
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    return found.get(FIELD.encode(), b"")


def _bounded(data: bytes) -> None:
    if len(data) > MAX_DATA:
        raise errors.TooLarge("too_large", f"a message on the bus has at most {MAX_DATA} bytes")
