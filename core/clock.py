"""Time as a thing that is passed in: what machines and tables are told, and tests can move."""

from __future__ import annotations

import time
from typing import NewType, Protocol

from nova.core.values import Seconds

UnixSeconds = NewType("UnixSeconds", float)  # since 1970-01-01T00:00:00Z


class Clock(Protocol):
    """Two readings. A deadline is measured in `monotonic`, a time that people or other machines see in `wall`."""

    def monotonic(self) -> Seconds:
        """Seconds since some moment; never goes back."""
        ...

    def wall(self) -> UnixSeconds:
        """The time of day; may jump in either direction when the system's clock is set."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> Seconds:
        return Seconds(time.monotonic())

    def wall(self) -> UnixSeconds:
        return UnixSeconds(time.time())


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, wall: float = 1_767_225_600.0, monotonic: float = 1000.0) -> None:
        self._wall, self._monotonic = wall, monotonic

    def monotonic(self) -> Seconds:
        return Seconds(self._monotonic)

    def wall(self) -> UnixSeconds:
        return UnixSeconds(self._wall)

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError: it does not pass backwards."""
        if seconds < 0:
            raise ValueError("time does not pass backwards; set_wall sets the time of day")
        self._monotonic += seconds
        self._wall += seconds

    def set_wall(self, wall: float) -> None:
        """Set the time of day, as an administrator or NTP does; the monotonic reading is not touched."""
        self._wall = wall


def rfc3339(wall: float) -> str:
    """`wall` as the API writes times: UTC with milliseconds, `2026-01-01T00:00:00.000Z` (RFC 3339)."""
    milliseconds = int(wall * 1000)  # cut, not rounded: a time that is shown has been reached
    moment = time.gmtime(milliseconds // 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{milliseconds % 1000:03d}Z"
