"""The channels that somebody uses now: made when first asked for, forgotten when idle, bounded in number and in bytes."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from typing import Final

from nova.core.errors import Unavailable
from nova.realtime.history import History, Publication
from nova.realtime.presence import Members
from nova.realtime.rules import Namespace
from nova.realtime.seam import Channel, ChannelRules, Sockets

IDLE: Final = 60.0  # seconds that a channel without readers and history is remembered
SWEEP: Final = 512  # rooms of one slice of a sweep: a few hundred microseconds
FULL: Final = 1.0  # seconds for which it is believed that all are in use: to look costs milliseconds


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
        self._full_until = float("-inf")

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
            if len(self._rooms) >= self._most and not self._spare(now):
                raise Unavailable("overloaded", f"{self._most} channels are in use", retry_after=IDLE)
            room = self._rooms[name] = self._make(name, space, rest, epoch or new_epoch())
        self._use(room, now)
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

    def sweep(self, now: float, now_ms: int) -> Iterator[int]:
        """Forget what is idle: how many of each slice of those that were not used for a while. Others may be used between two."""
        due = iter(list(takewhile(lambda room: room.used + IDLE < now, self._rooms.values())))
        while slice := list(islice(due, SWEEP)):
            gone = 0
            for room in slice:
                if self._rooms.get(room.name) is not room or room.used + IDLE >= now:
                    continue
                room.history.expire(now_ms)
                self._count(room)
                if self._busy(room):
                    self._use(room, now)
                elif len(room.history) == 0:
                    self._forget(room)
                    gone += 1
            yield gone

    def _spare(self, now: float) -> bool:
        """Make room: of those that only have a history the one that was used longest ago is forgotten. False: there is none."""
        if now < self._full_until:
            return False
        for _ in range(len(self._rooms)):
            room = next(iter(self._rooms.values()))
            if not self._busy(room):
                self._forget(room)
                return True
            self._use(room, now)
        self._full_until = now + FULL
        return False

    def _busy(self, room: Room) -> bool:
        return bool(room.channel.subscribers or len(room.members))

    def _use(self, room: Room, now: float) -> None:
        room.used = now
        self._rooms.move_to_end(room.name)

    def _forget(self, room: Room) -> None:
        self._bytes -= room.kept
        del self._rooms[room.name]
        self._gone(room)

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
