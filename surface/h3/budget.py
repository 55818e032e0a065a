"""A share of a thread: who has used it up waits, so that everything else in the thread gets the rest."""

from __future__ import annotations

from typing import Final

BURST: Final = 0.020  # seconds that may be used at once after a rest: a page's worth of packets, and less than a part of live video


class Budget:
    """`share` of every second (0 to 1), BURST of it at once. A machine: `now` comes in."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left = BURST
        self._at = 0.0

    def spend(self, seconds: float, now: float) -> None:
        """That much was used until now."""
        self._refill(now)
        self._left -= seconds

    def wait(self, now: float) -> float:
        """Seconds until there is something to use again; 0: now."""
        if self._share >= 1:
            return 0.0
        self._refill(now)
        return max(0.0, -self._left / self._share)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._left = min(BURST, self._left + (now - self._at) * self._share)
            self._at = now
