"""Fetches of one site at once: so many slots, so many that wait, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from nova.cdn.errors import OriginError


class Slots:
    """most: at once. queue: that may wait; one more raises OriginError `origin_busy`. First come, first served."""

    def __init__(self, most: int, queue: int) -> None:
        self._limiter = trio.CapacityLimiter(most)
        self._queue = queue
        self.waiting = 0

    @property
    def busy(self) -> int:
        return int(self._limiter.borrowed_tokens)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        holder = object()
        try:
            self._limiter.acquire_on_behalf_of_nowait(holder)
        except trio.WouldBlock:
            if self.waiting >= self._queue:
                raise OriginError("origin_busy", "too many requests wait for the origin", retry_after=1.0) from None
            self.waiting += 1
            try:
                await self._limiter.acquire_on_behalf_of(holder)
            finally:
                self.waiting -= 1
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(holder)
