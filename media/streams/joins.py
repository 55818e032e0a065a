"""Who joined which stream: enough to take a session back when its right goes away. Pure.

A session carries its own proof, so nobody looks here to admit a viewer; only revoking needs this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from nova.media.streams.model import StreamId, UnixMs, UserId

JOINS_MAX: Final = 200_000  # about 40 MB; beyond it the oldest are forgotten: they end with their own expiry


class Join(NamedTuple):
    viewer: bytes
    stream: StreamId
    user: UserId | None
    expires_at: UnixMs


class Joins:
    """Sessions that were given out, oldest first."""

    def __init__(self, most: int = JOINS_MAX) -> None:
        self._most = most
        self._by_viewer: OrderedDict[bytes, Join] = OrderedDict()
        self._of_stream: dict[StreamId, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._by_viewer)

    def add(self, join: Join, now: UnixMs) -> None:
        self._by_viewer[join.viewer] = join
        self._of_stream.setdefault(join.stream, set()).add(join.viewer)
        while self._by_viewer:
            oldest = next(iter(self._by_viewer.values()))
            if len(self._by_viewer) <= self._most and oldest.expires_at > now:
                break
            self.remove(oldest.viewer)

    def remove(self, viewer: bytes) -> bool:
        join = self._by_viewer.pop(viewer, None)
        if join is None:
            return False
        viewers = self._of_stream[join.stream]
        viewers.discard(viewer)
        if not viewers:
            del self._of_stream[join.stream]
        return True

    def take(self, stream: StreamId, unless: Callable[[UserId | None], bool]) -> list[bytes]:
        """Forget the viewers of a stream for whose user `unless` does not hold; those viewers."""
        found = [self._by_viewer[viewer] for viewer in self._of_stream.get(stream, ())]
        gone = [join.viewer for join in found if not unless(join.user)]
        for viewer in gone:
            self.remove(viewer)
        return gone
