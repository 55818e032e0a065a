"""Ids: UUIDv7 (RFC 9562 section 5.7), which sort by the time they were made, strictly within a process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from threading import Lock
from typing import Final, NewType

from nova.core.clock import Clock

Id = NewType("Id", str)  # the lower-case text form, 36 characters

_FORM: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Ids:
    """Makes ids. Safe to call from every thread.

    entropy: returns that many random bytes.
    """

    def __init__(self, clock: Clock, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._clock, self._entropy = clock, entropy
        self._lock = Lock()
        self._milliseconds = 0
        self._counter = 0

    def new(self) -> Id:
        """An id greater than every one that this object made before."""
        noise = int.from_bytes(self._entropy(10), "big")
        now = int(self._clock.wall() * 1000)
        with self._lock:
            # RFC 9562 section 6.2, method 1: 12 bits of counter in rand_a. It starts in the lower half, so that a
            # burst has room; when it is used up, or the clock went back, the timestamp runs ahead of the clock.
            if now > self._milliseconds:
                self._milliseconds, self._counter = now, noise >> 62 & 0x7FF
            else:
                self._counter += 1
                if self._counter > 0xFFF:
                    self._milliseconds, self._counter = self._milliseconds + 1, 0
            milliseconds, counter = self._milliseconds, self._counter
        text = f"{milliseconds << 80 | 0x7000 << 64 | counter << 64 | 0x2 << 62 | noise & (1 << 62) - 1:032x}"
        return Id(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


def parse_id(text: str) -> Id | None:
    """`text` as an id when it is one in our form, else None."""
    return Id(text) if _FORM.fullmatch(text) else None


def made_at(id: Id) -> float:
    """When an id was made, in Unix seconds; it may run ahead of the clock by the burst it was made in."""
    return int(id[:8] + id[9:13], 16) / 1000
