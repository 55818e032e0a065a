"""A channel in memory alone: the twin of the reactor's, for connections and readers in trio."""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

import trio

from nova.ext import pushes
from nova.ext.values import JSON
from nova.realtime.seam import ChannelRules, ReaderItem, SlowReader


class _Item(NamedTuple):
    kind: Literal["pub", "gap", "push", "unsub"]
    push: bytes
    offset: int
    key: str


class MemoryChannel:
    """The window of one channel; `Channel` of the seam."""

    def __init__(self, name: str, epoch: str, rules: ChannelRules, offset: int = 0) -> None:
        self.name, self.epoch, self._rules = name, epoch, rules
        self.offset = offset
        self.subscribers = 0
        self.window: deque[_Item] = deque()
        self.first = 0  # number of the first item in the window, of all that there were
        self._bytes = 0
        self.closed = False
        self.newest: dict[str, int] = {}  # key → number of the newest item with it that is in the window
        self.waiting = trio.lowlevel.ParkingLot()

    def publish(self, offset: int, data: bytes, at: int, info: bytes | None = None, conflate_key: str = "") -> None:
        if self.closed:
            raise ValueError("the channel is closed")
        if offset <= self.offset:
            raise ValueError("offsets ascend")
        self.offset = offset
        if conflate_key:
            self.newest[conflate_key] = self.first + len(self.window)
        self._add(_Item("pub", pushes.pub(JSON, self.name.encode(), offset, data, at, info), offset, conflate_key))

    def push(self, item: bytes) -> None:
        if self.closed:
            raise ValueError("the channel is closed")
        self._add(_Item("push", item, self.offset, ""))

    def close(self, code: int, reason: str) -> None:
        if self.closed:
            return
        self._add(_Item("unsub", pushes.unsub(JSON, self.name.encode(), code, reason.encode()), self.offset, ""))
        self.closed = True

    def reader(self, after: int | None = None) -> MemoryReader:
        return MemoryReader(self, after, self._rules.policy)

    def _add(self, item: _Item) -> None:
        self.window.append(item)
        self._bytes += len(item.push)
        while len(self.window) > self._rules.window_items or (self._bytes > self._rules.window_bytes and len(self.window) > 1):
            gone = self.window.popleft()
            self._bytes -= len(gone.push)
            if gone.key and self.newest.get(gone.key) == self.first:
                del self.newest[gone.key]
            self.first += 1
        self.waiting.unpark_all()


class MemoryReader:
    """`Reader` of the seam."""

    def __init__(self, channel: MemoryChannel, after: int | None, policy: str) -> None:
        self._channel, self._policy = channel, policy
        self._offset = channel.offset if after is None else after
        self._next = channel.first + len(channel.window)
        if after is not None:
            self._next = next((channel.first + at for at, item in enumerate(channel.window) if item.offset > after), self._next)
        self._fresh = after is None or after >= channel.offset
        self._open = True
        channel.subscribers += 1

    def __aiter__(self) -> MemoryReader:
        return self

    async def __anext__(self) -> ReaderItem:
        await trio.lowlevel.checkpoint()
        channel = self._channel
        while True:
            if not self._open:
                raise StopAsyncIteration
            if self._next < channel.first or not self._fresh:
                self._fresh = True
                gap = self._fell_out()
                if gap is not None:
                    return gap
            if self._next < channel.first + len(channel.window):
                item = channel.window[self._next - channel.first]
                self._next += 1
                if self._superseded(item):
                    continue
                self._offset = max(self._offset, item.offset)
                if item.kind == "unsub":
                    self.close()
                return ReaderItem(item.kind, item.push, self._offset)
            if channel.closed:
                self.close()
                continue
            await channel.waiting.park()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._channel.subscribers -= 1
            self._channel.waiting.unpark_all()

    def _superseded(self, item: _Item) -> bool:
        channel = self._channel
        return self._policy == "conflate" and bool(item.key) and channel.newest.get(item.key, -1) >= self._next

    def _fell_out(self) -> ReaderItem | None:
        """The window went on without this reader: what it missed."""
        channel = self._channel
        self._next = max(self._next, channel.first)
        kept = next((item.offset for item in list(channel.window)[self._next - channel.first :] if item.kind == "pub"), channel.offset + 1)
        first, last = self._offset + 1, kept - 1
        if first > last:
            return None
        if self._policy == "disconnect":
            self.close()
            raise SlowReader(detail="the reader took its messages too slowly")
        self._offset = last
        return ReaderItem("gap", pushes.gap(JSON, channel.name.encode(), channel.epoch.encode(), first, last), last)
