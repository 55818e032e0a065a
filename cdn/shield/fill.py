"""A body that comes from an origin and is kept while it comes: one writer, any number of readers, on I/O threads and in trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from nova.cdn.cache.keeper import Keeper, Room
from nova.cdn.errors import OriginBroken
from nova.core.reactor import Feed
from nova.ext.buffer import Arena, Buffer

ARENA_LEAST: Final = 262_144  # bytes of a body that get a memfd of their own, from which sendfile sends
_GATHER: Final = 16_384  # smaller pieces are put together, so that a slow origin does not make a rope of crumbs


class TooLarge(OriginBroken):
    """A body that had not said how long it would be has no room."""

    def __init__(self) -> None:
        super().__init__("the object is larger than what can be kept of it")


class Fill:
    """A context manager: behind it the body is whole, or broken.

    room: that was made for it. feed: keeps everything until the last reader is done. total: bytes of the body, None: not known; then it has
    at most `most`, and as much as there is room for.
    """

    def __init__(self, keeper: Keeper, room: Room, feed: Feed, total: int | None, *, most: int) -> None:
        self._keeper, self._room, self._most = keeper, room, most
        self.feed = feed
        self.total = total
        self.size = 0
        self.too_large = False
        self._pieces: list[Buffer] = []
        self._arena: Arena | None = None
        if total is not None and total >= ARENA_LEAST:
            with suppress(MemoryError):  # no descriptor to be had, or no file of that size: then it lies on the heap
                self._arena = Arena(total)
                keeper.hold(self._arena)

    def append(self, data: bytes) -> None:
        """Raises TooLarge: nothing was said of its length, and there is no room for more."""
        size = len(data)
        if self.total is None and (self.size + size > self._most or not self._keeper.fit(size)):
            self.too_large = True
            raise TooLarge
        if self._arena is not None:
            piece = self._arena.append(data)
        else:
            piece = Buffer(data)
            self._pieces.append(piece)
        self._room.came(size)
        self._keeper.hold(piece)
        self.size += size
        self.feed.append(piece)

    def end(self) -> None:
        """The body is whole."""
        if self._arena is not None:
            self._arena.seal()
        self.feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.feed.closed:  # the rest will not come: readers end, visibly
            self.feed.sequence.close(broken=True)

    @property
    def failed(self) -> bool:
        return self.feed.sequence.broken

    def body(self) -> list[Buffer]:
        """The whole body; crumbs are put together once it is complete."""
        if self._arena is not None:
            return [self._arena.view(0, self.size)] if self.size else []
        if len(self._pieces) > 1 and self.size / len(self._pieces) < _GATHER:
            return [Buffer(b"".join(map(bytes, self._pieces)))]
        return self._pieces

    async def read(self) -> AsyncIterator[Buffer]:
        """From its first byte, as it comes. The caller looks at `failed` behind the last one."""
        async for batch in self.feed.read(1):
            for piece in batch.items:
                yield piece
