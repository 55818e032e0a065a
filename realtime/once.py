"""Idempotency keys of publishes: the same key again gives the first answer, and nothing is published. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from nova.core.bus.port import ONCE

TTL: Final = ONCE  # as long as the bus, which knows what other nodes were told
ENTRIES: Final = 65536  # about 20 MB; one more forgets the oldest


A = TypeVar("A")


class Once(Generic[A]):
    """The answers of earlier publishes.

    A key belongs to a channel and to its publisher: nobody finds out another's.
    """

    def __init__(self, *, entries: int = ENTRIES, ttl: float = TTL) -> None:
        self._entries, self._ttl = entries, ttl
        self._known: OrderedDict[tuple[str, str, str], tuple[A, float]] = OrderedDict()

    def seen(self, channel: str, publisher: str, key: str, now: float) -> A | None:
        """What this publish was answered the first time; None: it is new."""
        self._sweep(now)
        found = self._known.get((channel, publisher, key))
        return None if found is None else found[0]

    def done(self, channel: str, publisher: str, key: str, answer: A, now: float) -> None:
        """It was answered so."""
        self._known[channel, publisher, key] = (answer, now + self._ttl)
        if len(self._known) > self._entries:
            self._known.popitem(last=False)

    def _sweep(self, now: float) -> None:
        while self._known:
            first = next(iter(self._known))
            if self._known[first][1] > now:
                return
            del self._known[first]
