"""Fetches of one site at once: so many slots, so many that wait, and no more."""

from __future__ import annotations

from types import TracebackType

import trio

from nova.cdn.errors import OriginError


class Slots:
    """most: at once. queue: that may wait; one more raises OriginError `origin_busy`. First come, first served."""

    def __init__(self, most: int, queue: int) -> None:
        self._most, self._free = most, trio.Semaphore(most)
        self._queue = queue
        self.waiting = 0

    @property
    def busy(self) -> int:
        return self._most - self._free.value

    def slot(self) -> Slot:
        """For one fetch. Entering raises OriginError."""
        return Slot(self)

    async def take(self) -> None:
        try:
            self._free.acquire_nowait()
        except trio.WouldBlock:
            if self.waiting >= self._queue:
                raise OriginError("origin_busy", "too many requests wait for the origin", retry_after=1.0) from None
            self.waiting += 1
            try:
                await self._free.acquire()
            finally:
                self.waiting -= 1

    def give_back(self) -> None:
        self._free.release()


class Slot:
    """A class, for it stands round every fetch."""

    __slots__ = ("_slots",)

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    async def __aenter__(self) -> None:
        await self._slots.take()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._slots.give_back()
