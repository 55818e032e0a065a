"""How long to wait for a first byte before a second origin is asked: the 95th percentile of what was seen, and never more than a bound.

Pure. Hedging at the 95th percentile costs at most a request in twenty (Dean, Barroso: The Tail at Scale, 2013).
"""

from __future__ import annotations

from typing import Final

KEPT: Final = 256  # latest first bytes
ENOUGH: Final = 32  # of them before a percentile means something
EVERY: Final = 16  # observations between two looks
LEAST: Final = 0.005  # seconds: below it is scheduling, not an origin


class Latencies:
    """The latest first bytes of one origin, in seconds."""

    def __init__(self) -> None:
        self._seen: list[float] = []
        self._next = 0
        self._due = ENOUGH
        self._quantiles: tuple[float, float, float] | None = None

    def observe(self, seconds: float) -> None:
        if len(self._seen) < KEPT:
            self._seen.append(seconds)
        else:
            self._seen[self._next] = seconds
            self._next = (self._next + 1) % KEPT
        self._due -= 1
        if self._due <= 0:
            self._due = EVERY
            ordered = sorted(self._seen)
            last = len(ordered) - 1
            self._quantiles = ordered[last // 2], ordered[round(last * 0.95)], ordered[round(last * 0.99)]

    @property
    def quantiles(self) -> tuple[float, float, float] | None:
        """Median, 95th and 99th percentile; None: too few were seen."""
        return self._quantiles


def delay(most: float, latencies: Latencies) -> float:
    """Seconds after which a second origin is asked. most: the bound, which counts alone at first."""
    found = latencies.quantiles
    return most if found is None else min(most, max(found[1], LEAST))
