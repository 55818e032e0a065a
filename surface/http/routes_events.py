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
from nova.core.errors import BadRequest, FieldError, RateLimited
from nova.ext import pushes
from nova.ext.values import JSON
from nova.realtime.history import Place, Recovery
from nova.realtime.seam import Reader, SlowReader
from nova.surface.http.call import Call
from nova.surface.http.route import Query, Reply, Route, short_text
from nova.surface.realtime import Realtime, holder, who

CHANNELS: Final = 32  # of one request: each event's id names all of them
COMMENT_S: Final = 15.0  # seconds between two comments, which keep proxies from closing a quiet answer
RETRY_MS: Final = 3000  # after which a browser comes back
CURSOR_MAX: Final = 8000  # characters
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
        wait = self.realtime.admission.admit(self.clock.monotonic())
        if wait:
            raise RateLimited("rate_limited", "many clients come at once", retry_after=wait)
        places = _decode(call.headers.get("Last-Event-ID", "") or call.query["cursor"])
        asks, hub = who(call.principal, call.peer), self.realtime.hub
        sources: list[_Source] = []
        try:
            for name in names:
                room, recovery, reader = await hub.reader(asks, name, places.get(name))
                sources.append(_Source(name, room.history.epoch, room.history.offset, recovery, places.get(name), reader))
        except BaseException:
            for source in sources:
                source.reader.close()
            raise
        follow = _Follow(sources)
        expires = float("inf") if call.principal is None else call.principal.expires_at - self.clock.wall()
        identity = None if call.principal is None else holder(call.principal)

        async def stream(send: Send) -> None:
            with self.realtime.sockets.attended(identity, follow.end):
                await follow.run(send, expires)

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
    """One answer: its channels, each followed by a task, in one stream of events."""

    def __init__(self, sources: list[_Source]) -> None:
        self._sources = sources
        self._places = {source.name: (source.epoch, source.offset) for source in sources}
        self._turn = trio.Lock()
        self._ending = trio.Event()
        self._last: tuple[int, str, int | None] | None = None

    def end(self, code: int, reason: str, reconnect_after_ms: int | None) -> None:
        """Say why, and end the answer."""
        self._last = (code, reason, reconnect_after_ms)
        self._ending.set()

    def close(self) -> None:
        for source in self._sources:
            source.reader.close()

    async def run(self, send: Send, expires: float) -> None:
        """Until the channels, the token or the client end."""
        await self._begin(send)
        with trio.move_on_after(max(0.0, expires)) as living:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._comment, send)
                nursery.start_soon(self._await_end, nursery)
                async with trio.open_nursery() as readers:
                    for source in self._sources:
                        readers.start_soon(self._read, send, source)
                nursery.cancel_scope.cancel()
        if living.cancelled_caught:
            self.end(4202, "token_expired", None)
        if self._last is not None:
            code, reason, after = self._last
            bye = pushes.bye(JSON, code, reason.encode(), RETRY_MS if after is None else after)
            await send(b"event: bye\ndata: %s\n\n" % bye)

    async def _begin(self, send: Send) -> None:
        """What each channel missed, in one go; the cursor counts a channel's own once it has been told."""
        parts = [b"retry: %d\n\n" % RETRY_MS]
        for channel, epoch, offset, recovery, place, _ in self._sources:
            name = channel.encode()
            first = recovery.publications[0].offset if recovery.publications else offset + 1
            missed = 0 if place is None or place.epoch != epoch else place.offset
            if place is not None and not recovery.recovered and missed + 1 < first:
                gap = pushes.gap(JSON, name, epoch.encode(), missed + 1, first - 1)
                self._places[channel] = (epoch, first - 1)
                parts.append(self._event(b"gap", gap))
            for each in recovery.publications:
                self._places[channel] = (epoch, each.offset)
                parts.append(self._event(b"pub", pushes.pub(JSON, name, each.offset, each.data, each.at, each.info)))
            self._places[channel] = (epoch, offset)
        # A cursor even before the first event: whoever is cut off at once misses nothing either.
        parts.append(b"id: %s\n: ready\n\n" % _encode(self._places))
        await send(b"".join(parts))

    async def _read(self, send: Send, source: _Source) -> None:
        try:
            async for item in source.reader:
                async with self._turn:
                    self._places[source.name] = (source.epoch, item.offset)
                    name = item.push[2 : item.push.index(b'"', 2)]
                    await send(self._event(name, item.push))
        except SlowReader:
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
