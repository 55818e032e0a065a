"""One live stream: its state, its window, and the publisher that feeds it now.

States: live → reconnecting (the publisher vanished) → live again on the same playlist, or ended; ended → forgotten after a while.
A machine: what happens is called in, with the time from an injected clock; outputs and the watcher are told at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nova.core.clock import Clock
from nova.core.log import Log
from nova.ext.buffer import Arena
from nova.ext.timeline import Part
from nova.media.live.ports import Muxer, Output
from nova.media.live.window import TICKS, Init, PartInfo, Segment, Window

WALL_DRIFT: Final = 1.0  # seconds that a publisher's clock may leave ours before PROGRAM-DATE-TIME follows ours again
ARENA_SPARE: Final = 32 << 20  # bytes beyond the segment limit: the part that crosses it, and its largest frame

_log = Log("nova.live")


class State(StrEnum):
    """`idle` streams have no LiveStream."""

    LIVE = "live"
    RECONNECTING = "reconnecting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is the same for all streams of this node; from the settings `live.*`. Seconds and bytes."""

    part_target: float = 0.2
    segment_target: float = 2.0
    target_duration: float = 4.0
    window_segments: int = 15
    timeline_gap: float = 1.0
    track_wait: float = 1.0
    track_timeout: float = 10.0
    reconnect_grace: float = 30.0
    ended_linger: float = 60.0
    max_bitrate: int = 8 << 20  # bytes a second
    max_segment: int = 32 << 20


class LiveStream:
    """A stream from its first publisher until it is forgotten.

    tag: the number that the object table counts its viewers under.
    """

    def __init__(self, id: str, tag: int, shape: Shape, clock: Clock) -> None:
        self.id = id
        self.tag = tag
        self.shape = shape
        self.state = State.LIVE
        self.deadline: float | None = None  # monotonic; when the state ends by itself
        self.started_wall = clock.wall()
        self.position = 0  # ticks; where the next period begins
        self.part_target = 0  # ticks; fixed with the first part
        self.outputs: list[Output] = []
        self.warnings: dict[str, int] = {}
        # A number that is not used again after a restart of this process: segments are not made faster than this in the long run.
        self.window = Window(
            size=shape.window_segments,
            target=round(shape.target_duration * TICKS),
            first_msn=int(clock.wall() / shape.segment_target),
        )
        self._clock = clock
        self._spare: Arena | None = None  # of a forgotten segment that nobody reads any more: its pages are warm
        self._init: Init | None = None
        self._next_init = 0
        self._wall_offset: float | None = None  # unix seconds at tick 0 of the period
        self._discontinuity = False
        self.segments = 0  # made so far
        self.rates: deque[tuple[int, int]] = deque(maxlen=64)  # (ticks, bytes) of closed segments: for measured bandwidths

    # Media

    def take(self, part: Part, muxer: Muxer, changed: Callable[[], None]) -> None:
        """One more part from the timeline; changed: called before the first part of a period becomes visible. Raises MuxError."""
        segment = self.window.open
        if part.opens and segment is not None:  # a segment whose last part was not known to be the last
            self._close(segment)
            segment = None
        if part.new_period:
            self._begin_period(part, muxer)
            changed()
        if segment is None:
            assert self._init is not None
            arena = self._spare or Arena(self.shape.max_segment + ARENA_SPARE)
            self._spare = None
            segment = self.window.begin(self._init, self._discontinuity, part.start, self._wall(part), arena)
            self._discontinuity = False
        data = muxer.part(part, segment.arena)
        info = PartInfo(len(segment.parts), part.end - part.start, part.independent, data)
        segment.parts.append(info)
        segment.end = part.end
        segment.size_bytes += len(data)
        self.position = part.end
        for output in self.outputs:
            output.part(segment, info)
        if part.closes:
            self._close(segment)

    def cut(self) -> None:
        """The period under way ends where it is: what follows is not continuous with it."""
        segment = self.window.open
        if segment is not None:
            self._close(segment)

    def flush(self) -> None:
        for output in self.outputs:
            output.flush()

    def _begin_period(self, part: Part, muxer: Muxer) -> None:
        data = muxer.init(part.tracks)
        if self._init is None or data != self._init.data:
            self._init = Init(self._next_init, data, part.tracks)
            self._next_init += 1
            for output in self.outputs:
                output.init(self._init)
        self._discontinuity = bool(self.window.listed)
        self._wall_offset = None

    def _wall(self, part: Part) -> float:
        """PROGRAM-DATE-TIME of a segment that begins with `part`: our clock at the period's beginning, carried on in media time."""
        # The frame at `part.end` has just come.
        offset = self._clock.wall() - part.end / TICKS
        if self._wall_offset is None or abs(offset - self._wall_offset) > WALL_DRIFT:
            self._wall_offset = offset
        return self._wall_offset + part.start / TICKS

    def _close(self, segment: Segment) -> None:
        forgotten = self.window.close()
        self.segments += 1
        self.rates.append((segment.duration, segment.size_bytes))
        for output in self.outputs:
            output.segment(segment)
        for old in forgotten:
            for output in self.outputs:
                output.forget(old)
            old.parts.clear()
            if self._spare is None and old.arena.recycle():
                self._spare = old.arena
        needed = {each.init.number for each in self.window} | ({self._init.number} if self._init else set())
        for init in {old.init.number: old.init for old in forgotten}.values():
            if init.number not in needed:
                for output in self.outputs:
                    output.forget_init(init)

    @property
    def tracks(self) -> Init | None:
        """The newest initialization segment, which says what the tracks are."""
        return self._init

    # Life

    def publishing(self) -> None:
        self.state = State.LIVE
        self.deadline = None

    def lost(self) -> None:
        """The publisher vanished; its grace time begins."""
        self.state = State.RECONNECTING
        self.deadline = self._clock.monotonic() + self.shape.reconnect_grace

    def end(self) -> None:
        """The broadcast is over; players learn it from the playlist, which stays for a while."""
        self.cut()
        self.state = State.ENDED
        self.deadline = self._clock.monotonic() + self.shape.ended_linger
        for output in self.outputs:
            output.end()

    def close(self) -> None:
        for output in self.outputs:
            output.close()

    def warn(self, code: str, count: int = 1) -> None:
        """Something that the streamer should know of; each kind is logged once."""
        if code not in self.warnings:
            _log.warning("live_trouble", stream=self.id, code=code)
        self.warnings[code] = self.warnings.get(code, 0) + count
