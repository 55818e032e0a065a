"""The channels that somebody uses now: made when first asked for, forgotten when idle, bounded in number and in bytes."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from nova.core.errors import Unavailable
from nova.realtime.history import History, Publication
from nova.realtime.presence import Members
from nova.realtime.rules import Namespace
from nova.realtime.seam import Channel, ChannelRules, Sockets

IDLE: Final = 60.0  # seconds that a channel without readers and history is remembered
SWEEP: Final = 512  # rooms that one sweep looks at: a few hundred microseconds


class Room:
    """A channel with what is known of it here. ready: it follows the other nodes; always, when there are none."""

    __slots__ = ("channel", "history", "kept", "members", "name", "ready", "rest", "space", "used")

    def __init__(self, name: str, space: Namespace, rest: str, history: History, channel: Channel) -> None:
        self.name, self.space, self.rest, self.history, self.channel = name, space, rest, history, channel
        self.members = Members()
        self.used = 0.0
        self.ready = False
        self.kept = 0  # bytes of the history, as they are counted


class Rooms:
    """All of them, the one used longest ago first.

    most: channels. most_bytes: of all histories together. gone: told of each one that is forgotten.
    """

    def __init__(self, sockets: Sockets, *, most: int, most_bytes: int, gone: Callable[[Room], None]) -> None:
        self._sockets, self._most, self._most_bytes, self._gone = sockets, most, most_bytes, gone
        self._rooms: OrderedDict[str, Room] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    def get(self, name: str) -> Room | None:
        return self._rooms.get(name)

    def obtain(self, name: str, space: Namespace, rest: str, now: float, epoch: str = "") -> Room:
        """The room of that name, made when needed. Raises Unavailable `overloaded`: there are too many, and all in use."""
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self._most and not self.sweep(now, force=True):
                raise Unavailable("overloaded", f"{self._most} channels are in use", retry_after=IDLE)
            room = self._rooms[name] = self._make(name, space, rest, epoch or new_epoch())
        room.used = now
        self._rooms.move_to_end(name)
        return room

    def renumber(self, room: Room, epoch: str) -> None:
        """Numbering begins anew: the old channel is closed by whoever has it."""
        fresh = self._make(room.name, room.space, room.rest, epoch)
        room.history, room.channel = fresh.history, fresh.channel
        self._count(room)

    def reopen(self, room: Room, *, empty: bool) -> None:
        """Readers begin anew, where the numbers are: the old channel is closed by whoever has it. empty: nothing is kept, either."""
        room.channel = self._open(room.name, room.space, room.history.epoch, room.history.offset)
        if empty:
            room.history.forget()
            self._count(room)

    def put(self, room: Room, publication: Publication, key: str, *, keep: bool) -> None:
        """One more publication of `room`, for its history and its readers."""
        room.history.put(publication, key, keep=keep)
        room.channel.publish(publication.offset, publication.data, publication.at, publication.info, key)
        self._count(room)
        while self._bytes > self._most_bytes:
            oldest = next((each for each in self._rooms.values() if each.kept), None)
            if oldest is None:
                return
            oldest.history.forget()
            self._count(oldest)

    def sweep(self, now: float, now_ms: int | None = None, *, force: bool = False) -> int:
        """Forget what is idle; how many that were. force: what has only a history, too."""
        gone = 0
        for room in list(self._rooms.values())[:SWEEP]:
            if now_ms is not None:
                room.history.expire(now_ms)
                self._count(room)
            busy = room.channel.subscribers or len(room.members)
            if not busy and (force or (room.used + IDLE < now and len(room.history) == 0)):
                self._bytes -= room.kept
                del self._rooms[room.name]
                self._gone(room)
                gone += 1
                if force:
                    break
            elif busy:
                room.used = now
                self._rooms.move_to_end(room.name)
        return gone

    def _count(self, room: Room) -> None:
        self._bytes += room.history.size_bytes - room.kept
        room.kept = room.history.size_bytes

    def _make(self, name: str, space: Namespace, rest: str, epoch: str) -> Room:
        history = History(epoch, items=space.history, size_bytes=space.bytes, ttl_ms=int(space.ttl * 1000))
        return Room(name, space, rest, history, self._open(name, space, epoch, 0))

    def _open(self, name: str, space: Namespace, epoch: str, offset: int) -> Channel:
        return self._sockets.channel(name, epoch, ChannelRules(policy=space.policy, watched=True), offset)


def new_epoch() -> str:
    """12 letters and digits that no other channel or process had."""
    return secrets.token_hex(6)
