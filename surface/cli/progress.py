"""Progress of long work: one line that is written over, and only on a terminal."""

from __future__ import annotations

import time
from typing import Final, TextIO

EVERY: Final = 0.5  # seconds between two drawings


class Progress:
    """Media seconds and bytes that went by."""

    def __init__(self, out: TextIO, what: str) -> None:
        self._out = out if out.isatty() else None
        self._what = what
        self._drawn_at = 0.0
        self._bytes = 0

    def step(self, at: float, size: int) -> None:
        """at: seconds of media so far."""
        self._bytes += size
        now = time.monotonic()
        if self._out is None or now - self._drawn_at < EVERY:
            return
        self._drawn_at = now
        rate = self._bytes * 8 / at / 1e6 if at else 0.0
        self._out.write(f"\r\033[K{self._what}: {int(at // 60)}:{at % 60:04.1f}  {self._bytes / 1e6:.1f} MB  {rate:.1f} Mbit/s")
        self._out.flush()

    def done(self) -> None:
        if self._out is not None and self._drawn_at:
            self._out.write("\n")
            self._out.flush()
