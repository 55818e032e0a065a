"""How long an origin may take for the next step: one task looks after everybody who waits, and ends who has waited enough.

A cancel scope with a deadline of its own costs several microseconds for every answer and every piece of a body. Waits of one length are
over in the order in which they began, so that only the oldest of each length is looked at, and hardly any waits that long.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import trio


class Waits(Protocol):
    """Somebody who waits, in one line at a time."""

    def overdue(self) -> None:
        """It has waited for its time. Called once, must be short and raise nothing."""


class Patience:
    """All who wait for the origins of one site."""

    def __init__(self) -> None:
        self._lines: dict[float, OrderedDict[Waits, float]] = {}  # by seconds: who waits, and until when
        self._until = float("inf")  # when `run` looks next
        self._sooner = trio.lowlevel.ParkingLot()

    def begin(self, who: Waits, seconds: float) -> None:
        """`who` waits from now on, for `seconds` at most; until `end`."""
        line = self._lines.get(seconds)
        if line is None:
            line = self._lines[seconds] = OrderedDict()
        line[who] = until = trio.current_time() + seconds
        if until < self._until:
            self._sooner.unpark_all()

    def end(self, who: Waits, seconds: float) -> None:
        """It waits no more."""
        if (line := self._lines.get(seconds)) is not None:
            line.pop(who, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._until = self._sweep(trio.current_time())
            with trio.move_on_at(self._until):
                await self._sooner.park()

    def _sweep(self, now: float) -> float:
        """When to look again."""
        soonest = float("inf")
        for seconds, line in list(self._lines.items()):
            while line:
                who, until = next(iter(line.items()))
                if until > now:
                    soonest = min(soonest, until)
                    break
                del line[who]
                who.overdue()
            if not line:
                del self._lines[seconds]  # lengths change with the settings
        return soonest
