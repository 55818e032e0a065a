"""WebSockets of the reactor, as trio sees them: commands that come up in batches, items, members and closes that go down.

A connection's state (who asks, its channels, deadlines, backlog) lies in the I/O threads; nothing here grows with their number.
Calls never block: they become commands to the threads, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final, Literal, NamedTuple, Protocol

import trio

from nova.core.guard import guarded
from nova.core.log import Log
from nova.core.reactor.channel import Channel
from nova.ext.engine import Engine

_log = Log("nova.websocket")
_DIGEST: Final = 16  # bytes of the digest by which the I/O threads know users and tokens

Policy = Literal["drop_oldest", "conflate", "disconnect"]


class Who(NamedTuple):
    """Who a connection is.

    client: its id, unique over nodes. user: `sub` of its token, None: nobody. scopes: bit i is the i-th name given to the TokenTable.
    claims: JSON of the token's claims, empty without one. name: of `connect`. form: of nova.ext.values; what is said here is JSON always.
    """

    client: str
    user: str | None
    scopes: int
    claims: bytes
    name: str
    peer: str
    listener: str
    form: int


class Command(NamedTuple):
    """One command of a client.

    id: not answered yet; 0: nobody waits for an answer. data: compact JSON. place: (offset, epoch) of recover or since. limit: 0: none
    given. member: it is in `channel` now. reply: what the reactor has decided already, to be sent when its turn has come.
    """

    id: int
    name: str
    channel: str
    data: bytes
    idempotency_key: str
    conflate_key: str
    place: tuple[int, str] | None
    limit: int
    member: bool
    reply: bytes | None


class Connections(Protocol):
    """What is told of WebSockets: called synchronously in the trio thread, must be short. An error ends the connection with 4000."""

    def commands(self, conn: int, who: Who, commands: list[Command]) -> None:
        """One frame of a client. Each command is to be answered once, in order."""

    def gone(self, conn: int, who: Who, reason: str, channels: list[str]) -> None:
        """The end of a connection that had commands. channels: the watched ones that it was in.

        It comes once more, from nobody, for a channel that the connection was put into when it had ended already.
        """


@dataclass(frozen=True, slots=True)
class WsRules:
    """What holds for every WebSocket.

    ping_s: a ping is sent so often. connect_ms: to `connect` without a token in the URL. silent_ms: without a byte. lifetime_s: 0 for
    ever, shortened by up to the share lifetime_jitter. max_message: bytes. ask_connect: `connect` is decided in trio. reconnect_ms,
    spread_ms: the windows over which a drain spreads returns and closes. hosts: names under which a cookie counts; hosts_open: and any
    address, and names of localhost. origins: pages that may open a WebSocket with one, beside our own.
    """

    channels: bool = True
    echo: bool = False
    deflate: bool = False
    ask_connect: bool = False
    ping_s: float = 25
    connect_ms: int = 10_000
    silent_ms: int = 60_000
    lifetime_s: float = 86_400
    lifetime_jitter: float = 0.1
    max_message: int = 65_536
    max_channels: int = 128
    reconnect_ms: int = 5_000
    spread_ms: int = 2_000
    hosts: Iterable[str] = ()
    hosts_open: bool = True
    origins: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """How a channel serves its members.

    policy: what becomes of a reader that the window leaves behind. window_items, window_bytes: what is kept for those who lag, shared by
    all. tick_ms: longest wait of a channel with more than busy_rate publications a second, ended by flush_bytes; 0: it never waits.
    watched: `gone` names it.
    """

    policy: Policy = "drop_oldest"
    window_items: int = 1024
    window_bytes: int = 1 << 20
    tick_ms: int = 20
    busy_rate: int = 50
    flush_bytes: int = 32_768
    watched: bool = False


class WebSockets:
    """The calls down. node: first part of every `client`; must differ between nodes that share a bus."""

    def __init__(self, engine: Engine, listener: Callable[[int], str]) -> None:
        self.node = token_hex(4)
        self._engine = engine
        self._listener = listener
        self._connections: Connections | None = None
        self._untaken: dict[int, trio.Event] = {}  # connections whose backlog somebody waits for

    def configure(self, rules: WsRules) -> None:
        """Before the first listener."""
        lifetime = int(rules.lifetime_s * 1000)
        self._engine.ws_rules(
            node=self.node.encode(), channels=rules.channels, echo=rules.echo, deflate=rules.deflate, ask_connect=rules.ask_connect,
            ping_ms=int(rules.ping_s * 1000), connect_ms=rules.connect_ms, silent_ms=rules.silent_ms, life_ms=lifetime,
            life_jitter_ms=int(lifetime * rules.lifetime_jitter), reconnect_ms=rules.reconnect_ms, spread_ms=rules.spread_ms,
            max_message=rules.max_message, max_channels=rules.max_channels, hosts=_lines(rules.hosts),
            hosts_open=rules.hosts_open, origins=_lines(rules.origins),
        )  # fmt: skip

    def serve(self, connections: Connections) -> None:
        """From now on commands are handed to `connections`."""
        self._connections = connections

    def channel(self, name: str, epoch: str, rules: ChannelRules = ChannelRules(), offset: int = 0) -> Channel:
        """A new channel, whose first publication comes behind `offset`; it lives as long as somebody holds or follows it."""
        made = Channel(
            name, epoch, rules.policy, window_items=rules.window_items, window_bytes=rules.window_bytes, tick_ms=rules.tick_ms,
            busy_rate=rules.busy_rate, flush_bytes=rules.flush_bytes, watched=rules.watched, offset=offset,
        )  # fmt: skip
        made.feed(self._engine.ws_news)
        return made

    def reply(self, conn: int, item: bytes) -> None:
        """The reply (JSON) to the oldest command of the connection that is not answered yet."""
        self._engine.ws_item(conn, item, True)

    async def taken(self, conn: int) -> None:
        """Until the client has taken what was sent to it, but for little, or has gone; `gone` must not have told of that before."""
        waiting = self._untaken.setdefault(conn, trio.Event())
        self._engine.mark(conn)
        await waiting.wait()

    def push(self, conn: int, item: bytes) -> None:
        """A push (JSON) to one connection."""
        self._engine.ws_item(conn, item, False)

    def subscribe(self, conn: int, channel: Channel) -> None:
        """A member from the next publication on; who is one already begins there anew."""
        self._engine.ws_join(conn, channel)

    def unsubscribe(self, conn: int, channel: Channel) -> None:
        self._engine.ws_leave(conn, channel)

    def disconnect(self, conn: int, code: int, reason: str, *, reconnect_after_ms: int | None = None) -> None:
        """Close after what was sent; with reconnect_after_ms a `bye` goes before."""
        self._engine.ws_close(conn, code, reason.encode(), -1 if reconnect_after_ms is None else reconnect_after_ms)

    def disconnect_user(self, user: str, code: int, reason: str) -> None:
        """Close every connection of a user on this node."""
        self._engine.ws_user(_digest(user), code, reason.encode())

    def unsubscribe_user(self, user: str, channel: Channel, code: int, reason: str) -> None:
        """Every connection of a user out of a channel, told by an `unsub` push."""
        from nova.ext.pushes import unsub
        from nova.ext.values import JSON

        self._engine.ws_user(_digest(user), code, unsub(JSON, channel.name.encode(), code, reason.encode()), channel)

    def revoke(self, *, jti: str | None = None, user: str | None = None, before_ms: int = 0) -> None:
        """Close the connections of a revoked token, or of a user's tokens issued at before_ms or earlier (0: whenever), with 4203."""
        if jti is not None:
            self._engine.ws_revoke(_digest(jti), jti=True)
        if user is not None:
            self._engine.ws_revoke(_digest(user), jti=False, before_ms=before_ms)

    def stats(self) -> dict[str, int]:
        """The reactor's counters whose names begin with `ws_`."""
        return {name: value for name, value in self._engine.stats().items() if name.startswith("ws_")}

    # -- events of the reactor -----------------------------------------------------------------------------------------

    def commands(self, event: tuple[Any, ...]) -> None:
        _, conn, who, rows = event
        if self._connections is None:
            self._engine.ws_close(conn, 4001, b"unavailable")
            return
        self._engine.hold()
        with guarded(_log) as failed:
            self._connections.commands(conn, self._who(conn, who), [Command._make(row) for row in rows])
        if failed:
            self._engine.ws_close(conn, 4000, b"internal")
        self._engine.let_go()

    def drained(self, conn: int) -> None:
        """The connection has taken what it was sent, or has ended: who waits in `taken` goes on."""
        waiting = self._untaken.pop(conn, None)
        if waiting is not None:
            waiting.set()

    def gone(self, event: tuple[Any, ...]) -> None:
        _, conn, who, channels, reason = event
        self.drained(conn)
        if self._connections is not None:
            with guarded(_log):
                self._connections.gone(conn, self._who(conn, who), reason, channels)

    def _who(self, conn: int, row: tuple[Any, ...]) -> Who:
        user, scopes, claims, name, peer, _, listener, form = row
        return Who(f"{self.node}-{conn:x}", user, scopes, claims, name, peer, self._listener(listener), form)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()[:_DIGEST]


def _lines(words: Iterable[str]) -> bytes:
    return b"".join(b"\n%s\n" % word.lower().encode() for word in words)
