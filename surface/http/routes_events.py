"""`/v1/events`: channels as server-sent events, for whoever has no WebSocket (WHATWG HTML, section 9.2).

Each event is named after its push and carries it whole; its id is a cursor over all channels of the request, so that a browser that comes
back by itself (`Last-Event-ID`) goes on where it was, on every channel.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import trio

from nova.core.clock import Clock
from nova.core.errors import BadRequest, FieldError, NovaError, Unavailable
from nova.ext import pushes
from nova.ext.values import JSON
from nova.realtime.history import Place, Recovery
from nova.realtime.hub import RESUBSCRIBE
from nova.realtime.seam import Reader, SlowReader
from nova.realtime.trio_sockets import TrioSockets, farewell
from nova.surface.http.call import Call
from nova.surface.http.route import Query, Reply, Route, short_text
from nova.surface.realtime import Realtime, holder, who

CHANNELS: Final = 32  # of one request: each event's id names all of them
COMMENT_S: Final = 15.0  # seconds between two comments, which keep proxies from closing a quiet answer
RETRY_MS: Final = 3000  # after which a browser comes back
CURSOR_MAX: Final = 10_000  # characters: that of 32 channels with the longest names has some 8500
_SLOW: Final = 4005

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EventRoutes:
    """Handlers over the hub's readers. clock: of tokens' expiry and of admission."""

    realtime: Realtime
    clock: Clock

    def table(self) -> list[Route]:
        return [
            Route("GET", "/v1/events", "read_events", self.events, "Follow channels as server-sent events", "realtime", query={
                "channels": Query(short_text(CHANNELS * 162), {"type": "string"}, "", f"Names, at most {CHANNELS}, with commas."),
                "cursor": Query(short_text(CURSOR_MAX), {"type": "string"}, "", "As `Last-Event-ID`, where that header cannot be set.")},
                answers={200: None}, errors=("not_found", "forbidden", "unauthenticated", "unavailable", "rate_limited"), query_token=True,
                description="`event:` is the push's name, `data:` the push as on the WebSocket, `id:` an opaque cursor over all channels."),
        ]  # fmt: skip

    async def events(self, call: Call) -> Reply:
        names = list(dict.fromkeys(name for name in call.query["channels"].split(",") if name))
        if not 0 < len(names) <= CHANNELS:
            detail = f"name 1 to {CHANNELS} channels"
            raise BadRequest("invalid_field", detail, fields=[FieldError("?channels", "invalid_field", detail)])
        wait = self.realtime.admission.admit(call.peer, self.clock.monotonic())
        if wait:
            raise Unavailable("overloaded", "many clients come at once", retry_after=wait)
        places = _decode(call.headers.get("Last-Event-ID", "") or call.query["cursor"])
        asks, hub = who(call.principal, call.peer), self.realtime.hub
        await hub.admit(asks)

        async def source(name: str, place: Place | None) -> _Source:
            room, recovery, reader = await hub.reader(asks, name, place)
            return _Source(name, room.history.epoch, room.history.offset, recovery, place, reader)

        follow = _Follow(source, self.realtime.sockets)
        try:
            for name in names:
                await follow.add(name, places.get(name))
        except BaseException:
            follow.close()
            raise
        expires = float("inf") if call.principal is None else call.principal.expires_at - self.clock.wall()
        identity = None if call.principal is None else holder(call.principal)

        async def stream(send: Send) -> None:
            with self.realtime.sockets.attended(identity, follow):
                await follow.run(send, expires, self.realtime.sockets.age())

        return Reply(stream=stream, content_type="text/event-stream", closed=follow.close)


class _Source(NamedTuple):
    """One channel of a request. offset: of the newest publication that `recovery` may have; the reader gives the others."""

    name: str
    epoch: str
    offset: int
    recovery: Recovery
    place: Place | None
    reader: Reader


class _Follow:
    """One answer: its channels, each followed by a task, in one stream of events. realtime.trio_sockets.Attended.

    find: the channel of that name from that place on; raises NovaError. sockets: count what is missed.
    """

    def __init__(self, find: Callable[[str, Place | None], Awaitable[_Source]], sockets: TrioSockets) -> None:
        self._find, self._sockets = find, sockets
        self._sources: dict[str, _Source] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self._left: dict[str, bytes] = {}  # `unsub` of channels that are not followed any more
        self._turn = trio.Lock()
        self._ending = trio.Event()
        self._last: tuple[int, str, int | None] | None = None

    async def add(self, channel: str, place: Place | None) -> _Source:
        """Follow one more. Raises NovaError."""
        source = self._sources[channel] = await self._find(channel, place)
        self._places[channel] = (source.epoch, source.offset)
        return source

    def end(self, code: int, reason: str, reconnect_after_ms: int | None) -> None:
        """Say why, and end the answer."""
        self._last = (code, reason, reconnect_after_ms)
        self._ending.set()

    def leave(self, channel: str, code: int, reason: str) -> None:
        source = self._sources.get(channel)
        if source is not None:
            self._left[channel] = pushes.unsub(JSON, channel.encode(), code, reason.encode())
            source.reader.close()

    def close(self) -> None:
        for source in self._sources.values():
            source.reader.close()

    async def run(self, send: Send, expires: float, age: float) -> None:
        """Until the channels, the token or the client end. expires, age: seconds until the token does, and until this is old enough."""
        with trio.move_on_after(max(0.0, min(expires, age))) as living:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._await_end, nursery)
                await self._begin(send)
                nursery.start_soon(self._comment, send)
                async with trio.open_nursery() as readers:
                    for source in self._sources.values():
                        readers.start_soon(self._read, send, source)
                nursery.cancel_scope.cancel()
        if living.cancelled_caught:
            self.end(*((4202, "token_expired") if expires <= age else (4007, "lifetime")), None)
        if self._last is not None:
            code, reason, after = self._last
            bye = pushes.bye(JSON, code, reason.encode(), RETRY_MS if after is None else after)
            with farewell():
                await send(b"event: bye\ndata: %s\n\n" % bye)

    async def _begin(self, send: Send) -> None:
        """What each channel missed, in one go; the cursor counts a channel's own once it has been told."""
        parts = [b"retry: %d\n\n" % RETRY_MS]
        for source in self._sources.values():
            parts += self._missed(source)
        # A cursor even before the first event: whoever is cut off at once misses nothing either.
        parts.append(b"id: %s\n: ready\n\n" % _encode(self._places))
        await send(b"".join(parts))

    def _missed(self, source: _Source) -> list[bytes]:
        channel, epoch, offset, recovery, place, _ = source
        name, parts = channel.encode(), []
        first = recovery.publications[0].offset if recovery.publications else offset + 1
        missed = place.offset if place is not None and place.epoch == epoch and place.offset <= offset else 0
        if place is not None and not recovery.recovered:  # in another epoch it may end at 0: what was missed had numbers of the old one
            self._places[channel] = (epoch, first - 1)
            parts.append(self._event(b"gap", pushes.gap(JSON, name, epoch.encode(), missed + 1, first - 1)))
        for each in recovery.publications:
            self._places[channel] = (epoch, each.offset)
            parts.append(self._event(b"pub", pushes.pub(JSON, name, each.offset, each.data, each.at, each.info)))
        self._places[channel] = (epoch, offset)
        return parts

    async def _read(self, send: Send, source: _Source) -> None:
        """One channel, until it is said that this is all; where it begins anew, it is followed anew."""
        name, following = source.name, True
        try:
            while following:
                told: bytes | None = None
                async for item in source.reader:
                    if item.kind == "unsub":
                        told = item.push
                        break
                    if item.kind == "gap":
                        self._sockets.missed(item.push)
                    async with self._turn:
                        self._places[name] = (source.epoch, item.offset)
                        await send(self._event(item.push[2 : item.push.index(b'"', 2)], item.push))
                told, following = self._left.pop(name, told), False
                if told is not None and json.loads(told)["unsub"]["code"] == RESUBSCRIBE:
                    try:
                        source, following = await self.add(name, Place(self._places[name][1], source.epoch)), True
                    except NovaError as error:
                        told = pushes.unsub(JSON, name.encode(), error.row.close, error.code.encode())
                parts = self._missed(source) if following else [] if told is None else [self._event(b"unsub", told)]
                if parts:
                    async with self._turn:
                        await send(b"".join(parts))
        except SlowReader:
            self._sockets.counts["slow"] += 1
            self.end(_SLOW, "slow_reader", None)

    async def _comment(self, send: Send) -> None:
        while True:
            await trio.sleep(COMMENT_S)
            async with self._turn:
                await send(b": \n\n")

    async def _await_end(self, nursery: trio.Nursery) -> None:
        await self._ending.wait()
        nursery.cancel_scope.cancel()

    def _event(self, name: bytes, push: bytes) -> bytes:
        # Line breaks between the tokens of a client's JSON mean nothing; within strings there are none.
        return b"event: %s\nid: %s\ndata: %s\n\n" % (name, _encode(self._places), push.replace(b"\n", b" ").replace(b"\r", b" "))


def _encode(places: dict[str, tuple[str, int]]) -> bytes:
    return urlsafe_b64encode(json.dumps(places, separators=(",", ":")).encode()).rstrip(b"=")


def _decode(cursor: str) -> dict[str, Place]:
    """Raises BadRequest `bad_cursor`."""
    if not cursor:
        return {}
    try:
        found: Any = json.loads(urlsafe_b64decode(cursor[:CURSOR_MAX].encode("ascii") + b"=" * (-len(cursor) % 4)))
        return {str(name): Place(_offset(offset), str(epoch)) for name, (epoch, offset) in found.items()}
    except (binascii.Error, UnicodeError, ValueError, RecursionError, TypeError, AttributeError):
        raise BadRequest("bad_cursor", "Use the id that the last event gave.") from None


def _offset(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError
    return value
