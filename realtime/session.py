"""One client's frames on a WebSocket that lives in trio: bytes to commands, with what can be answered without the hub. Pure.

The reactor does the same in C for its own connections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nova.core.errors import TABLE
from nova.ext import commands as grammar
from nova.ext import pushes
from nova.ext.values import JSON, convert
from nova.realtime.seam import Command

UNANSWERED: Final = grammar.MAX_COMMANDS  # commands of one connection that wait for an answer


@dataclass(frozen=True, slots=True)
class Life:
    """What holds for every connection. connect, ping, lifetime, reconnect: seconds, of the settings. channels: that it follows at most."""

    connect: float = 10.0
    ping: float = 25.0
    lifetime: float = 86_400.0
    channels: int = 128
    reconnect: float = 5.0


class Identity(NamedTuple):
    """Of a verified token. expires_at: Unix seconds. scopes: bits in the order of the token table."""

    user: str
    scopes: int
    claims: bytes
    expires_at: float
    issued_ms: int
    jti: str | None


class Wanted(NamedTuple):
    """A command that carries a token: the shell verifies it and answers."""

    id: int
    name: str  # connect or refresh
    token: str
    client_name: str


def decided(id: int, name: str, reply: bytes) -> Command:
    """A command whose reply is there already: it only waits for its turn."""
    return Command(id, name, "", b"", "", "", None, 0, False, reply)


class Session:
    """What a client has said and may say.

    form: of its frames, JSON or MSGPACK. connected: its URL had a token, so it needs no `connect`. channels: that it follows at most.
    """

    def __init__(self, form: int, *, connected: bool, channels: int) -> None:
        self.form, self.connected, self._channels = form, connected, channels
        self.greeted = False  # `connect` was said, and not refused
        self.asked = 0  # subscriptions that were handed on and are not decided yet
        self._ids: set[int] = set()

    @property
    def unanswered(self) -> int:
        return len(self._ids)

    def feed(self, frame: bytes, members: Collection[str]) -> Iterator[Command | Wanted]:
        """The commands of one frame, in order, each as it is when its turn comes. members: channels that it is subscribed to by then.

        Raises FrameRefused (ext.commands): replies are not possible.
        """
        found = grammar.read(self.form, frame, UNANSWERED)
        return (self._command(each, members) for each in found)

    def answered(self, id: int) -> None:
        """The reply of this command is on its way: its id is free again."""
        self._ids.discard(id)

    def _command(self, found: dict[str, Any], members: Collection[str]) -> Command | Wanted:
        id, name = found["id"], found["command"]
        if id in self._ids:
            return decided(0, name, _error(id, "id_in_use"))
        self._ids.add(id)
        if "error" in found:
            return decided(id, name, _error(id, found["error"], found.get("wrong", "")))
        if name == "connect":
            if self.greeted:
                return decided(id, name, _error(id, "conflict"))
            self.greeted = True
            return Wanted(id, name, _text(found, "token"), _text(found, "name"))
        if name == "ping":
            return decided(id, name, pushes.empty(JSON, id, grammar.COMMANDS.index("ping") + 1))
        if not self.connected:
            return decided(id, name, _error(id, "unauthenticated"))
        if name == "refresh":
            return Wanted(id, name, _text(found, "token"), "")
        channel = _text(found, "channel")
        if name == "subscribe" and channel not in members:
            if len(members) + self.asked >= self._channels:
                return decided(id, name, _error(id, "quota_exceeded"))
            self.asked += 1
        place = found.get("recover") or found.get("since")
        return Command(
            id,
            name,
            channel,
            self._json(found.get("data", b"")),
            _text(found, "idempotency_key"),
            _text(found, "conflate_key"),
            None if place is None else (place[0], place[1].decode()),
            found.get("limit", 0),
            channel in members,
            None,
        )

    def _json(self, data: bytes) -> bytes:
        return data if self.form == JSON or not data else convert(self.form, JSON, data)


def _text(found: dict[str, Any], name: str) -> str:
    value: bytes = found.get(name, b"")
    return value.decode()


def _error(id: int, code: str, wrong: str = "") -> bytes:
    message = TABLE[code].title + (f": {wrong}" if wrong else "")
    return pushes.error(JSON, id, code.encode(), message.encode())
