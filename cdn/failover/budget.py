"""A retry budget: what is asked a second time is a small share of what is asked, so that trouble is not multiplied.

Pure. Retries in any span ≤ ratio * requests of the span + burst + burst * seconds / REFILL.
"""

from __future__ import annotations

from typing import Final

REFILL: Final = 10.0  # seconds in which a quiet site's burst is there again


class RetryBudget:
    """ratio: retries for each request. burst: those that are possible at once, and without any request in REFILL seconds."""

    def __init__(self, ratio: float, burst: int) -> None:
        self._ratio, self._burst = ratio, float(burst)
        self._left = float(burst)
        self._at: float | None = None
        self.taken = 0
        self.refused = 0

    def request(self, now: float) -> None:
        """One request was made."""
        self._refill(now)
        self._left = min(self._left + self._ratio, max(self._burst, 1.0 if self._ratio else 0.0))

    def take(self, now: float) -> bool:
        """Whether one more may be made now; then it is counted."""
        self._refill(now)
        if self._left < 1.0 - 1e-9:
            self.refused += 1
            return False
        self._left -= 1.0
        self.taken += 1
        return True

    @property
    def left(self) -> float:
        return self._left

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._left = min(self._left + (now - self._at) * self._burst / REFILL, max(self._left, self._burst))
        self._at = now
