"""The window of a live stream: the segments that its playlist lists, and those that older playlists still name.

Pure: parts in, segments in and out of the window. A segment removed from the playlist stays for as long as the segment and the
longest playlist that named it last (RFC 8216bis, 6.2.2); both are measured in media time, so that a publisher who sends faster
than real time cannot fill the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from nova.ext.buffer import Arena, Buffer
from nova.ext.timeline import Tracks

TICKS: Final = 90_000  # a second


@dataclass(frozen=True, slots=True)
class Init:
    """An initialization segment; `number` counts them through the life of the stream."""

    number: int
    data: bytes
    tracks: Tracks


@dataclass(slots=True)
class PartInfo:
    """A part as playlists see it; never changed. duration: ticks."""

    index: int
    duration: int
    independent: bool
    data: Buffer


@dataclass(slots=True)
class Segment:
    """A segment and its parts.

    start, end: ticks on the stream's timeline. wall: unix seconds of its first frame. cached: the output's own, e.g. its lines in
    a playlist, which never change once it is closed.
    """

    msn: int
    init: Init
    discontinuity: bool
    start: int
    wall: float
    arena: Arena
    end: int = 0
    size_bytes: int = 0
    closed: bool = False
    kept_until: int = 0  # ticks, once it has left the playlist
    parts: list[PartInfo] = field(default_factory=list)
    cached: str = ""

    @property
    def duration(self) -> int:
        return self.end - self.start


class Window:
    """Segments by age: kept for older playlists, listed, and the one under way.

    size: segments kept in all, when they are of one length: with n listed, the one under way, and n + 2 for older playlists.
    target: the target duration, ticks. first_msn: media sequence number of the first segment.
    """

    def __init__(self, *, size: int, target: int, first_msn: int = 0) -> None:
        self._least = max((size - 3) // 2, 1)
        self._target = target
        self.next_msn = first_msn
        self.listed: deque[Segment] = deque()  # the last one may be open
        self.kept: deque[Segment] = deque()
        self.discontinuity_sequence = 0

    @property
    def open(self) -> Segment | None:
        """The segment under way."""
        return self.listed[-1] if self.listed and not self.listed[-1].closed else None

    @property
    def first_msn(self) -> int:
        """Of the playlist."""
        return self.listed[0].msn if self.listed else self.next_msn

    def begin(self, init: Init, discontinuity: bool, start: int, wall: float, arena: Arena) -> Segment:
        segment = Segment(self.next_msn, init, discontinuity, start, wall, arena, start)
        self.next_msn += 1
        self.listed.append(segment)
        return segment

    def close(self) -> list[Segment]:
        """The segment under way is whole; the segments that nobody may ask for any more."""
        last = self.listed[-1]
        last.closed = True
        total = sum(segment.duration for segment in self.listed)
        # RFC 8216bis, 6.2.2: what stays lists three target durations at least.
        while len(self.listed) > self._least and total - self.listed[0].duration >= 3 * self._target:
            gone = self.listed.popleft()
            gone.kept_until = last.end + gone.duration + total
            total -= gone.duration
            self.discontinuity_sequence += gone.discontinuity
            self.kept.append(gone)
        forgotten: list[Segment] = []
        while self.kept and self.kept[0].kept_until <= last.end:
            forgotten.append(self.kept.popleft())
        return forgotten

    def __iter__(self) -> Iterator[Segment]:
        yield from self.kept
        yield from self.listed

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self)
