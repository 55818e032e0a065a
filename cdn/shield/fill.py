"""A body that comes from an origin and is kept while it comes: one writer, any number of readers, on I/O threads and in trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from nova.core.reactor import Feed
from nova.ext.buffer import Arena, Buffer

ARENA_LEAST: Final = 262_144  # bytes of a body that get a memfd of their own, from which sendfile sends
_GATHER: Final = 16_384  # smaller pieces are put together, so that a slow origin does not make a rope of crumbs


class Fill:
    """total: bytes of the body, None: not known. feed: keeps everything until the last reader is done."""

    def __init__(self, feed: Feed, total: int | None) -> None:
        self.feed = feed
        self.total = total
        self.size = 0
        self.pieces: list[Buffer] = []
        self._arena: Arena | None = None
        if total is not None and total >= ARENA_LEAST:
            self._arena = Arena(total)

    def append(self, data: bytes | Buffer) -> None:
        piece = self._arena.append(data) if self._arena is not None else data if isinstance(data, Buffer) else Buffer(data)
        self.pieces.append(piece)
        self.size += len(piece)
        self.feed.append(piece)

    def end(self) -> None:
        """The body is whole."""
        if self._arena is not None:
            self._arena.seal()
        self.feed.close()

    def broken(self) -> None:
        """The rest will not come: readers end, visibly."""
        if not self.feed.closed:
            self.feed.sequence.close(broken=True)

    @property
    def failed(self) -> bool:
        return self.feed.sequence.broken

    def body(self) -> list[Buffer]:
        """The whole body; crumbs are put together once it is complete."""
        if self._arena is not None:
            return [self._arena.view(0, self.size)] if self.size else []
        if len(self.pieces) > 1 and self.size / len(self.pieces) < _GATHER:
            return [Buffer(b"".join(map(bytes, self.pieces)))]
        return self.pieces

    async def read(self) -> AsyncIterator[Buffer]:
        """From its first byte, as it comes. The caller looks at `failed` behind the last one."""
        async for batch in self.feed.read(1):
            for piece in batch.items:
                yield piece
