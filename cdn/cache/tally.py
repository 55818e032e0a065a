"""What is counted by the name of an object until somebody looks: within so many bytes, for clients make names up, and long ones."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

MOST: Final = 16 << 20  # bytes of one tally: some 70,000 names of common length
NAME: Final = 200  # bytes that a name takes beside its own, with its sums

Name = TypeVar("Name", bound=Hashable)


class Tally(Generic[Name]):
    """Sums by name. A name that has no room any more is not counted; those that are there go on."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._bytes = most, 0
        self._sums: dict[Name, tuple[int, ...]] = {}

    def add(self, name: Name, size: int, *more: int) -> None:
        """size: bytes of the name. more: what is added to its sums, always as many of them."""
        before = self._sums.get(name)
        if before is None:
            if self._bytes + size + NAME > self._most:
                return
            self._bytes += size + NAME
            self._sums[name] = more
        else:
            self._sums[name] = tuple(map(sum, zip(before, more, strict=True)))

    def take(self) -> dict[Name, tuple[int, ...]]:
        """The sums since the last time."""
        found, self._sums, self._bytes = self._sums, {}, 0
        return found
