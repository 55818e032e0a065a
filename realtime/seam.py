"""What the hub and those who hold the sockets are to one another.

Two hold sockets: the reactor (HTTP/1.1) and `trio_sockets` (WebSocket over h2 and h3). Identity, subscriptions and backlogs of a
connection live there; the hub keeps nothing per connection but who is present. Everything is called in the trio thread and never blocks.
Items are JSON text, whatever the client speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


class Who(NamedTuple):
    """Who asks. client: unique over nodes, begins with the node's id. scopes: bit i is the i-th scope of the token table."""

    client: str
    user: str | None
    scopes: int
    claims: bytes
    name: str
    peer: str
    listener: str = ""
    form: int = 0


class Command(NamedTuple):
    """One command. reply: decided already; it only waits for its turn. member: subscribed to `channel` now."""

    id: int
    name: str
    channel: str = ""
    data: bytes = b""
    idempotency_key: str = ""
    conflate_key: str = ""
    place: tuple[int, str] | None = None
    limit: int = 0
    member: bool = False
    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """How a channel treats its readers: see core.reactor."""

    policy: Literal["drop_oldest", "conflate", "disconnect"] = "drop_oldest"
    window_items: int = 1024
    window_bytes: int = 1 << 20
    tick_ms: int = 20
    busy_rate: int = 50
    flush_bytes: int = 32768
    watched: bool = False


class ReaderItem(NamedTuple):
    """One push, as JSON. offset: where to go on behind it."""

    kind: str  # pub, gap, push, unsub
    push: bytes
    offset: int


class SlowReader(Exception):
    """A reader fell out of the window of a channel whose policy is `disconnect`."""


class Reader(Protocol):
    """A cursor into a channel, in trio. One consumer."""

    def __aiter__(self) -> Reader: ...
    async def __anext__(self) -> ReaderItem: ...
    def close(self) -> None: ...


class Channel(Protocol):
    """One channel in one epoch. Only the hub writes."""

    @property
    def name(self) -> str: ...
    @property
    def epoch(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def subscribers(self) -> int: ...
    def publish(self, offset: int, data: bytes, at: int, info: bytes | None = None, conflate_key: str = "") -> None: ...
    def push(self, item: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def reader(self, after: int | None = None) -> Reader: ...


class Sockets(Protocol):
    """Those who hold connections. A call for a connection that is gone does nothing."""

    @property
    def node(self) -> str: ...
    def channel(self, name: str, epoch: str, rules: ChannelRules) -> Channel: ...
    def reply(self, conn: int, item: bytes) -> None: ...
    def push(self, conn: int, item: bytes) -> None: ...
    def subscribe(self, conn: int, channel: Channel) -> None: ...
    def unsubscribe(self, conn: int, channel: Channel) -> None: ...
    def disconnect(self, conn: int, code: int, reason: str, *, reconnect_after_ms: int | None = None) -> None: ...
    def disconnect_user(self, user: str, code: int, reason: str) -> None: ...
    def unsubscribe_user(self, user: str, channel: Channel, code: int, reason: str) -> None: ...
    def revoke(self, *, jti: str | None = None, user: str | None = None, before_ms: int = 0) -> None: ...


class Connections(Protocol):
    """The hub, as those who hold connections see it."""

    def commands(self, conn: int, who: Who, commands: Sequence[Command]) -> None: ...
    def gone(self, conn: int, who: Who, reason: str, channels: Sequence[str]) -> None: ...
