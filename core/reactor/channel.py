"""A channel in trio: its writer's handle, and its readers that are tasks (SSE, HTTP/2, HTTP/3, gRPC).

A reader here and a socket of an I/O thread follow the same window by the same rules: every item once and in order, a `gap` for what the
window has left behind, the policy of the channel for who is too slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Literal, NamedTuple, Self

import trio

from nova.core.errors import RateLimited
from nova.ext import channels as ext


class SlowReader(RateLimited):
    """The channel's policy is `disconnect`, and its window has left this reader behind."""


class ReaderItem(NamedTuple):
    """push: the whole push as JSON. offset: the cursor after it, for `reader(after=…)`."""

    kind: Literal["pub", "gap", "push", "unsub"]
    push: bytes
    offset: int


class Channel(ext.Channel):
    """One writer (the hub), any number of members and readers."""

    def __init__(self, *arguments: object, **named: object) -> None:
        del arguments, named  # they are __cinit__'s
        self._waiting = trio.lowlevel.ParkingLot()
        self._readers = 0

    def feed(self, news: Callable[[ext.Channel], None]) -> None:
        """`news(channel)` tells the I/O threads of a new item."""

        def appended(channel: ext.Channel) -> None:
            news(channel)
            self._waiting.unpark_all()

        self.on_append(appended)

    @property
    def subscribers(self) -> int:
        """Sockets and readers."""
        return self.members + self._readers

    def reader(self, after: int | None = None) -> Reader:
        """Follow from behind the publication `after` on; None: from the next one on."""
        return Reader(self, after)


class Reader:
    """Items one by one, as an async iterator; ends behind `unsub`. Counts as a subscriber from the first look to `close`."""

    def __init__(self, channel: Channel, after: int | None) -> None:
        self._channel = channel
        self._last = channel.offset if after is None else after
        self._cursor = channel.next if after is None else channel.cursor(after)
        self._found: deque[ReaderItem] = deque()
        self._open = True
        channel._readers += 1

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> ReaderItem:
        """Raises SlowReader: the policy is `disconnect`."""
        while self._open:
            if self._found:
                await trio.lowlevel.checkpoint_if_cancelled()
                item = self._found.popleft()
                if item.kind == "unsub":
                    self.close()
                return item
            try:
                items, self._cursor, last, gap = self._channel.take(self._cursor, self._last)
            except BufferError:
                self.close()
                raise SlowReader(detail="the reader took its messages too slowly") from None
            if gap is not None:
                self._found.append(ReaderItem("gap", gap, items[0][2] - 1 if items else last))
            self._found.extend(ReaderItem(kind, push, offset) for kind, push, offset in items)
            self._last = last
            if not self._found:
                await self._channel._waiting.park()
        raise StopAsyncIteration

    def close(self) -> None:
        """It follows no more. A second call does nothing."""
        if self._open:
            self._open = False
            self._channel._readers -= 1
            self._channel._waiting.unpark_all()  # whoever waits in it, too

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
