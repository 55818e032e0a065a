"""Connections that live in trio: WebSockets over HTTP/2 and HTTP/3, and a router before the reactor's, which are cheaper by far.

Each connection is a handful of tasks: one that reads, one that writes, one for each subscription. What a client does not read
fills its outbox; then its subscriptions wait, and the channel's policy for slow readers does the rest.
"""

from __future__ import annotations

import itertools
import json
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from nova.core.clock import Clock
from nova.core.errors import TABLE, NovaError, Unauthenticated
from nova.core.log import Log
from nova.ext import pushes
from nova.ext.commands import FrameRefused
from nova.ext.values import JSON
from nova.ext.values import item as spelled
from nova.realtime.channel_memory import MemoryChannel
from nova.realtime.hub import error_item
from nova.realtime.ports import Hooks, Refused
from nova.realtime.seam import Channel, ChannelRules, Connections, Reader, SlowReader, Sockets, Who
from nova.realtime.session import UNANSWERED, Identity, Life, Session, Wanted, decided

FIRST: Final = 1 << 63  # ids of these connections begin here; the reactor's are below
OUTBOX: Final = 65_536  # bytes that wait to be sent before subscriptions pause, and nothing more is read
OUTBOX_MOST: Final = 8 << 20  # replies and pushes to one connection do not pause: who has so much unread is closed
HANDED: Final = 4  # commands of one connection in the hub's hands: a reply may be as long as what a channel keeps
FRAME: Final = 49_152  # bytes of replies and pushes in one frame, unless one alone is longer
JITTER: Final = 0.1  # share by which a lifetime may be shorter
FAREWELL: Final = 5.0  # seconds that a client has to take what is said at the end
_SLOW: Final = 4005

_log = Log("nova.realtime")


class Abandoned(OSError):
    """The client takes nothing, not even the end: whoever carries the connection cuts it."""


@contextmanager
def farewell() -> Iterator[None]:
    """Something is said at the end. Raises Abandoned: the client did not take it in time."""
    with trio.move_on_after(FAREWELL) as saying:
        yield
    if saying.cancelled_caught:
        raise Abandoned("the client does not take the end of its connection")


class Wire(Protocol):
    """One WebSocket, whatever carries it."""

    async def receive(self) -> bytes | None:
        """The next message; None: the client has left."""

    async def send(self, frame: bytes) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...


class Attended(Protocol):
    """Another kind of live connection, such as an answer of server-sent events. Neither call waits."""

    def end(self, code: int, reason: str, reconnect_after_ms: int | None) -> None: ...
    def leave(self, channel: str, code: int, reason: str) -> None:
        """Follow this channel no more; nothing when it does not."""


Verify = Callable[[str], Awaitable[Identity]]  # raises Unauthenticated


@dataclass(slots=True, eq=False)
class _Conn:
    id: int
    client: str
    peer: str
    session: Session
    identity: Identity | None
    counts: dict[str, int]
    name: str = ""
    asked: bool = False  # the hub has had commands of it
    outbox: deque[tuple[bytes, int]] = field(default_factory=deque)  # item, id of the command that it answers
    size: int = 0
    news: trio.Event = field(default_factory=trio.Event)
    room: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)  # several wait: the reader, and subscriptions
    closing: tuple[int, str] | None = None
    ending: trio.Event = field(default_factory=trio.Event)
    abandoned: bool = False
    subscriptions: dict[str, tuple[Channel, Reader, trio.CancelScope]] = field(default_factory=dict)
    nursery: trio.Nursery | None = None
    replies: deque[tuple[int, bool]] = field(default_factory=deque)  # ids in the order of their answers; whether it is a subscription's
    expiry: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def who(self) -> Who:
        identity = self.identity
        if identity is None:
            return Who(self.client, None, 0, b"", self.name, self.peer, "", self.session.form)
        return Who(self.client, identity.user, identity.scopes, identity.claims, self.name, self.peer, "", self.session.form)

    def put(self, item: bytes, answers: int = 0) -> None:
        if self.size > OUTBOX_MOST:
            self.too_slow()
            return
        self.outbox.append((item, answers))
        self.size += len(item)
        self.news.set()

    def take(self) -> list[bytes]:
        """The next frame's worth of what waits to be sent."""
        items: list[bytes] = []
        size = 0
        while self.outbox and (not items or size + len(self.outbox[0][0]) <= FRAME):
            item, answers = self.outbox.popleft()
            self.session.answered(answers)
            items.append(item)
            size += len(item)
        self.size -= size
        self.room.unpark_all()
        return items

    def too_slow(self) -> None:
        """It takes less than it is sent: it ends, and counts as slow once."""
        self.counts["slow"] += self.closing is None
        self.end(_SLOW, "slow_reader")

    def end(self, code: int, reason: str) -> None:
        if self.closing is None:
            self.closing = (code, reason)
            self.ending.set()
            self.news.set()


class TrioSockets:
    """`Sockets` of the seam. inner: the reactor's, whose channels everybody then follows; None: channels in memory."""

    def __init__(self, clock: Clock, inner: Sockets | None = None, hooks: Hooks | None = None, life: Life | None = None) -> None:
        self._clock, self._inner, self._hooks, self._life = clock, inner, hooks, life or Life()
        self.node = inner.node if inner is not None else secrets.token_hex(4)
        self._conns: dict[int, _Conn] = {}
        self._ids = itertools.count(FIRST)
        self._connections: Connections
        self._leaving = trio.lowlevel.ParkingLot()
        self._attended: dict[Attended, Identity | None] = {}
        self._draining: tuple[int, str] | None = None  # code, reason
        self.counts = {"gaps": 0, "dropped": 0, "slow": 0}  # told to readers in trio; publications in them; closed for it

    def attach(self, connections: Connections) -> None:
        """The hub is made after the sockets that it writes to."""
        self._connections = connections

    def __len__(self) -> int:
        return len(self._conns) + len(self._attended)

    @contextmanager
    def attended(self, identity: Identity | None, attended: Attended) -> Iterator[None]:
        """While it lasts, `attended` ends and leaves as the connections of its holder do."""
        self._attended[attended] = identity
        if self._draining is not None:
            self._dismiss(attended, *self._draining)
        try:
            yield
        finally:
            del self._attended[attended]
            self._leaving.unpark_all()

    # -- what the hub calls ----------------------------------------------------------------------------------------------

    def channel(self, name: str, epoch: str, rules: ChannelRules, offset: int = 0) -> Channel:
        return MemoryChannel(name, epoch, rules, offset) if self._inner is None else self._inner.channel(name, epoch, rules, offset)

    def reply(self, conn: int, item: bytes) -> None:
        if conn < FIRST:
            if self._inner is not None:
                self._inner.reply(conn, item)
        elif (found := self._conns.get(conn)) is not None:
            id, subscribes = found.replies.popleft() if found.replies else (0, False)
            found.session.asked -= subscribes
            found.put(item, id)

    async def taken(self, conn: int) -> None:
        """Of those in trio nothing more is read by itself."""
        if conn < FIRST and self._inner is not None:
            await self._inner.taken(conn)

    def push(self, conn: int, item: bytes) -> None:
        if conn < FIRST:
            if self._inner is not None:
                self._inner.push(conn, item)
        elif (found := self._conns.get(conn)) is not None:
            found.put(item)

    def subscribe(self, conn: int, channel: Channel) -> None:
        if conn < FIRST:
            if self._inner is not None:
                self._inner.subscribe(conn, channel)
            return
        found = self._conns.get(conn)
        if found is None or found.nursery is None:
            return
        self._stop(found, channel.name)
        reader, scope = channel.reader(), trio.CancelScope()
        found.subscriptions[channel.name] = (channel, reader, scope)
        found.nursery.start_soon(self._follow, found, channel.name, reader, scope)

    def unsubscribe(self, conn: int, channel: Channel) -> None:
        if conn < FIRST:
            if self._inner is not None:
                self._inner.unsubscribe(conn, channel)
        elif (found := self._conns.get(conn)) is not None:
            self._stop(found, channel.name)

    def disconnect(self, conn: int, code: int, reason: str, *, reconnect_after_ms: int | None = None) -> None:
        if conn < FIRST:
            if self._inner is not None:
                self._inner.disconnect(conn, code, reason, reconnect_after_ms=reconnect_after_ms)
        elif (found := self._conns.get(conn)) is not None:
            if reconnect_after_ms is not None:
                found.put(pushes.bye(JSON, code, reason.encode(), reconnect_after_ms))
            found.end(code, reason)

    def disconnect_user(self, user: str, code: int, reason: str) -> None:
        if self._inner is not None:
            self._inner.disconnect_user(user, code, reason)
        for conn in self._of(user):
            conn.end(code, reason)
        for attended, identity in list(self._attended.items()):
            if identity is not None and identity.user == user:
                attended.end(code, reason, None)

    def unsubscribe_user(self, user: str, channel: Channel, code: int, reason: str) -> None:
        if self._inner is not None:
            self._inner.unsubscribe_user(user, channel, code, reason)
        for conn in self._of(user):
            if channel.name in conn.subscriptions:
                self._stop(conn, channel.name)
                conn.put(pushes.unsub(JSON, channel.name.encode(), code, reason.encode()))
        for attended, identity in list(self._attended.items()):
            if identity is not None and identity.user == user:
                attended.leave(channel.name, code, reason)

    def revoke(self, *, jti: str | None = None, user: str | None = None, before_ms: int = 0) -> None:
        if self._inner is not None:
            self._inner.revoke(jti=jti, user=user, before_ms=before_ms)

        def ends(identity: Identity | None) -> bool:
            if identity is None:
                return False
            of_user = user is not None and identity.user == user and identity.issued_ms <= before_ms
            return of_user or (jti is not None and identity.jti == jti)

        for conn in list(self._conns.values()):
            if ends(conn.identity):
                conn.end(4203, "token_revoked")
        for attended, identity in list(self._attended.items()):
            if ends(identity):
                attended.end(4203, "token_revoked", None)

    async def drain(self, code: int, reason: str, *, spread_ms: int) -> None:
        """Tell everybody when to come back, within spread_ms, and close; when they are gone it returns. The reactor does so for its own."""
        self._draining = code, reason
        everybody: list[_Conn | Attended] = [*self._conns.values(), *self._attended]
        random.shuffle(everybody)
        begun = trio.current_time()
        for at, each in enumerate(everybody):
            await trio.sleep_until(begun + spread_ms / 1000 * at / len(everybody))
            self._dismiss(each, code, reason)
        while len(self):
            await self._leaving.park()

    def _dismiss(self, whom: _Conn | Attended, code: int, reason: str) -> None:
        after = random.randint(0, int(self._life.reconnect * 1000))  # noqa: S311 -- spreads, and hides nothing
        if isinstance(whom, _Conn):
            self.disconnect(whom.id, code, reason, reconnect_after_ms=after)
        else:
            whom.end(code, reason, after)

    def age(self) -> float:
        """Seconds that a connection lives, a little less than the greatest age."""
        return self._life.lifetime * (1 - JITTER * random.random())  # noqa: S311 -- as above

    def missed(self, gap: bytes) -> None:
        """A reader in trio is told of this gap."""
        body = json.loads(gap)["gap"]
        self.counts["gaps"] += 1
        self.counts["dropped"] += body["to"] - body["from"] + 1

    # -- one connection --------------------------------------------------------------------------------------------------

    async def serve(self, wire: Wire, *, form: int, peer: str, identity: Identity | None, verify: Verify) -> None:
        """One connection, from its upgrade to its end. identity: of a token in the URL or a header, or of a cookie.

        Raises Abandoned: it was to end, and the client takes nothing.
        """
        number = next(self._ids)
        session = Session(form, connected=identity is not None, channels=self._life.channels)
        conn = _Conn(number, f"{self.node}-{number - FIRST:x}t", peer, session, identity, self.counts)
        with self._known(conn):
            async with trio.open_nursery() as nursery:
                conn.nursery = nursery
                nursery.start_soon(self._expire, conn)
                nursery.start_soon(self._write, conn, wire)
                nursery.start_soon(self._age, conn)
                nursery.start_soon(self._part, conn, nursery)
                if self._draining is not None:
                    self._dismiss(conn, *self._draining)
                if identity is None:
                    nursery.start_soon(self._await_connect, conn)
                elif await self._ask(conn) is not None:
                    await trio.sleep_forever()  # the writer closes
                await self._read(conn, wire, verify)
                nursery.cancel_scope.cancel()
        if conn.abandoned:
            raise Abandoned("the client does not take the end of its connection")

    async def _part(self, conn: _Conn, nursery: trio.Nursery) -> None:
        """However slowly the client reads: what is to end has ended soon."""
        await conn.ending.wait()
        await trio.sleep(FAREWELL)
        conn.abandoned = True
        nursery.cancel_scope.cancel()

    @contextmanager
    def _known(self, conn: _Conn) -> Iterator[None]:
        self._conns[conn.id] = conn
        try:
            yield
        finally:
            del self._conns[conn.id]
            self._leaving.unpark_all()
            channels = list(conn.subscriptions)
            for name in channels:
                self._stop(conn, name)
            if conn.asked:
                self._connections.gone(conn.id, conn.who, "closed" if conn.closing is None else conn.closing[1], channels)

    async def _read(self, conn: _Conn, wire: Wire, verify: Verify) -> None:
        while True:
            await self._wait_for_room(conn)
            frame = await wire.receive()
            if frame is None:
                return
            try:
                commands = conn.session.feed(frame, conn.subscriptions)
            except FrameRefused as refused:
                conn.end(4300, refused.code)
                await trio.sleep_forever()  # the writer closes
            for each in commands:
                await self._wait_for_room(conn)
                if isinstance(each, Wanted):
                    each = decided(each.id, each.name, await self._identify(conn, each, verify))
                if conn.closing is not None:
                    await trio.sleep_forever()  # what it says now is not heard
                if each.id == 0:  # its id is an open command's: there is only this to say
                    conn.put(each.reply or b"")
                    continue
                conn.replies.append((each.id, each.name == "subscribe" and each.reply is None and not each.member))
                conn.asked = True
                self._connections.commands(conn.id, conn.who, [each])

    async def _wait_for_room(self, conn: _Conn) -> None:
        """Until what was asked has been taken, about: a client that does not read is not read."""
        while conn.session.unanswered >= UNANSWERED or len(conn.replies) >= HANDED or conn.size > OUTBOX:
            await conn.room.park()

    async def _identify(self, conn: _Conn, wanted: Wanted, verify: Verify) -> bytes:
        """The reply of `connect` and `refresh`; of a connection that ends with it, nothing that matters."""
        session, known = conn.session, conn.identity
        try:
            found = await verify(wanted.token) if wanted.token else None
            if (wanted.name == "refresh" and (found is None or known is None)) or (found and known and found.user != known.user):
                raise Unauthenticated("bad_token", "The token is another user's")
        except NovaError as error:
            session.greeted = session.greeted and wanted.name == "refresh"  # it may try again
            return error_item(wanted.id, error)
        conn.identity = found or known
        conn.expiry.cancel()
        if wanted.name == "refresh":
            return pushes.refreshed(JSON, wanted.id, self._seconds_left(conn))
        session.connected, conn.name = True, wanted.client_name[:64]
        refused = await self._ask(conn)
        if refused is not None:
            conn.put(pushes.error(JSON, wanted.id, refused.code.encode(), refused.detail.encode("utf-8", "replace")))  # before its end
            return b""
        user = None if conn.identity is None else conn.identity.user.encode()
        return pushes.connected(JSON, wanted.id, conn.client.encode(), user, self._seconds_left(conn), round(self._life.ping))

    def _seconds_left(self, conn: _Conn) -> int:
        """Of the token; 0: there is none."""
        return 0 if conn.identity is None else max(0, int(conn.identity.expires_at - self._clock.wall()))

    async def _ask(self, conn: _Conn) -> Refused | None:
        """The backend, when it wants to be asked; who is refused is sent away."""
        refused: Refused | None = None
        if self._hooks is not None and "connect" in self._hooks.asks:
            try:
                refused = await self._hooks.connect(conn.who)
            except NovaError as error:
                refused = Refused(error.code, error.detail)
        if refused is not None:
            conn.end(TABLE[refused.code].close, refused.code)
        return refused

    async def _await_connect(self, conn: _Conn) -> None:
        await trio.sleep(self._life.connect)
        if not conn.session.connected:
            conn.end(4008, "not_connected")

    async def _age(self, conn: _Conn) -> None:
        await trio.sleep(self.age())
        self._dismiss(conn, 4007, "lifetime")

    async def _expire(self, conn: _Conn) -> None:
        """Close when the token has expired; a refresh begins the wait anew."""
        while True:
            left = float("inf") if conn.identity is None else max(0.0, conn.identity.expires_at - self._clock.wall())
            with trio.move_on_after(left) as waited:
                conn.expiry = trio.CancelScope()
                with conn.expiry:
                    await trio.sleep_forever()
            if waited.cancelled_caught:
                conn.end(4202, "token_expired")
                return

    async def _write(self, conn: _Conn, wire: Wire) -> None:
        form = conn.session.form
        while True:
            await conn.news.wait()
            conn.news = trio.Event()
            while conn.outbox:
                items = [item if form == JSON else spelled(form, item) for item in conn.take()]
                await wire.send(items[0] if len(items) == 1 else pushes.batch(form, items))
            if conn.closing is not None:
                await wire.close(*conn.closing)
                if conn.nursery is not None:
                    conn.nursery.cancel_scope.cancel()
                return

    async def _follow(self, conn: _Conn, name: str, reader: Reader, scope: trio.CancelScope) -> None:
        """One subscription, until it ends."""
        with scope:
            try:
                async for item in reader:
                    while conn.size > OUTBOX:
                        await conn.room.park()
                    if item.kind == "gap":
                        self.missed(item.push)
                    conn.put(item.push)
                    if item.kind == "unsub":
                        conn.subscriptions.pop(name, None)
            except SlowReader:
                conn.too_slow()

    def _stop(self, conn: _Conn, name: str) -> None:
        found = conn.subscriptions.pop(name, None)
        if found is not None:
            found[1].close()
            found[2].cancel()

    def _of(self, user: str) -> list[_Conn]:
        return [conn for conn in self._conns.values() if conn.identity is not None and conn.identity.user == user]
