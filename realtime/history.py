"""The publications that a channel keeps: numbered from 1 within an epoch, bounded by count, bytes and age. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple


class Publication(NamedTuple):
    """One message of a channel. data, info: compact JSON. at: Unix milliseconds."""

    offset: int
    data: bytes
    at: int
    info: bytes | None = None


class Place(NamedTuple):
    """Behind a publication: where a client stopped reading."""

    offset: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a subscriber gets. recovered: nothing that it missed is missing here (but what a newer state or a deletion replaced)."""

    recovered: bool
    publications: list[Publication]


@dataclass(frozen=True, slots=True)
class Page:
    """Publications in order. more: others follow."""

    publications: list[Publication]
    more: bool


_OBJECTS: Final = 256  # bytes that a publication takes beside its texts


class History:
    """What one channel keeps. It ascends; a hole is what was superseded by its key, or deleted.

    epoch: at most 16 visible characters, new whenever numbering begins anew.
    """

    def __init__(self, epoch: str, *, items: int, size_bytes: int, ttl_ms: int) -> None:
        self.epoch = epoch
        self._items, self._size_bytes, self._ttl_ms = items, size_bytes, ttl_ms
        self._kept: OrderedDict[int, Publication] = OrderedDict()
        self._keys: dict[str, int] = {}  # key → offset of the newest with it; bounded by what is kept
        self._key_of: dict[int, str] = {}
        self._bytes = 0
        self.offset = 0  # of the newest publication, kept or not
        self._lost = 0  # the newest one that was dropped for want of room or time: who stopped before it cannot recover

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, publication: Publication, key: str = "", *, keep: bool = True) -> None:
        """The next publication; its offset is above all others. key: it supersedes the kept one with this key."""
        if publication.offset <= self.offset:
            raise ValueError("offsets ascend")
        self.offset = publication.offset
        if not keep:
            return  # ephemeral: nobody misses it
        if self._items == 0:
            self._lost = publication.offset
            return
        if key:
            older = self._keys.get(key)
            if older is not None:
                self._remove(older)
            self._keys[key] = publication.offset
            self._key_of[publication.offset] = key
        self._kept[publication.offset] = publication
        self._bytes += _size(publication)
        while len(self._kept) > self._items or (self._bytes > self._size_bytes and self._kept):
            self._lose(next(iter(self._kept)))
        self.expire(publication.at)

    def begin(self, offset: int, lost: int) -> None:
        """Numbering goes on behind `offset`; those up to `lost` are no longer kept anywhere."""
        self.offset, self._lost = max(self.offset, offset), max(self._lost, lost)

    def expire(self, now_ms: int) -> None:
        """Let go of what is too old."""
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.at + self._ttl_ms > now_ms:
                return
            self._lose(oldest.offset)

    def delete(self, offsets: Iterable[int]) -> None:
        """Take publications out: whoever comes later does not see them."""
        for offset in offsets:
            if offset in self._kept:
                self._remove(offset)

    def forget(self) -> None:
        """Let go of everything: there is no room."""
        while self._kept:
            self._lose(next(iter(self._kept)))

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def recover(self, place: Place | None, replay: int) -> Recovery:
        """What a subscriber that stopped at `place` (None: a new one) gets: all it missed, or the last `replay` ones."""
        if place is None or place.epoch != self.epoch or place.offset > self.offset:
            return Recovery(False, self.last(replay))
        return Recovery(place.offset >= self._lost, self._behind(place.offset))

    def last(self, count: int) -> list[Publication]:
        """The last `count`, in order."""
        return list(islice(reversed(self._kept.values()), count))[::-1]

    def page(self, since: Place | None, limit: int) -> Page:
        """At most `limit` behind `since`; of another epoch, or None: from the oldest one kept."""
        after = since.offset if since is not None and since.epoch == self.epoch else 0
        found = self._behind(after)
        return Page(found[:limit], len(found) > limit)

    def _behind(self, offset: int) -> list[Publication]:
        if offset >= self.offset:
            return []
        found: list[Publication] = []
        for publication in reversed(self._kept.values()):
            if publication.offset <= offset:
                break
            found.append(publication)
        return found[::-1]

    def _lose(self, offset: int) -> None:
        self._lost = max(self._lost, offset)
        self._remove(offset)

    def _remove(self, offset: int) -> None:
        self._bytes -= _size(self._kept.pop(offset))
        key = self._key_of.pop(offset, None)
        if key is not None and self._keys.get(key) == offset:
            del self._keys[key]


def _size(publication: Publication) -> int:
    return len(publication.data) + len(publication.info or b"") + _OBJECTS
