"""A sequence with readers in trio: the twin of the connections that follow it on the I/O threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import trio

from nova.ext.buffer import Buffer
from nova.ext.sequence import Sequence


class Batch(NamedTuple):
    """What a reader gets at once. lost: items that it missed before these, because it was slower than the window."""

    items: list[Buffer]
    lost: int


class Feed:
    """One writer's sequence. Connections follow `sequence` in the reactor; tasks follow `read()`, by the same window and policy.

    news: told after every append, so that the reactor wakes its readers.
    """

    def __init__(self, *, window_items: int, window_bytes: int, news: Callable[[Sequence], None] | None = None) -> None:
        self.sequence = Sequence(window_items, window_bytes)
        self._news = news
        self._waiting = trio.lowlevel.ParkingLot()
        self.sequence.on_append(self._appended)

    def _appended(self, sequence: Sequence) -> None:
        self._waiting.unpark_all()
        if self._news is not None:
            self._news(sequence)

    def append(self, data: bytes | Buffer, key: bool = False) -> int:
        """The offset of the new item. key: readers can start here. Raises ValueError when closed."""
        return self.sequence.append(data, key)

    def close(self) -> None:
        """No more items: readers end behind the last one."""
        if not self.sequence.closed:
            self.sequence.close()

    @property
    def closed(self) -> bool:
        return self.sequence.closed

    @property
    def readers(self) -> int:
        """Connections and tasks that follow."""
        return self.sequence.readers + len(self._waiting)

    async def read(self, cursor: int | None = None, *, most: int = 32) -> AsyncIterator[Batch]:
        """Items from offset `cursor` on (None: from the newest key item), at most `most` at a time, until the sequence is closed.

        Credit is the iteration itself: nothing is taken before the reader asks for it.
        """
        at = self.sequence.join() if cursor is None else cursor
        while True:
            items, at, lost = self.sequence.take(at, most)
            if items or lost:
                yield Batch(items, lost)
            elif self.sequence.closed:
                return
            else:
                await self._waiting.park()
