"""What probes say: an origin is well until several probes in a row failed, and well again after several that did not.

Pure. The breaker judges answers to requests; this judges probes, and they are asked also when nobody visits.
"""

from __future__ import annotations

from typing import Final

FALL: Final = 3  # probes in a row that failed
RISE: Final = 2  # probes in a row that did not: the step back is taken on more than one word, so that nothing flaps


class Health:
    """`well` is what the last probes say. An origin without probes is well."""

    def __init__(self, *, fall: int = FALL, rise: int = RISE) -> None:
        self._fall, self._rise = fall, rise
        self._in_a_row = 0  # probes that spoke against `well`
        self.well = True
        self.changes = 0

    def probe(self, good: bool) -> bool:
        """Take a probe's result; whether `well` changed."""
        if good == self.well:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        if self._in_a_row < (self._fall if self.well else self._rise):
            return False
        self.well, self._in_a_row = good, 0
        self.changes += 1
        return True
