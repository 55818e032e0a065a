"""A publisher's way into its stream: batches of records through the timeline and the muxer into the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from nova.core.errors import RateLimited, Unprocessable
from nova.core.log import Log
from nova.ext.buffer import Buffer
from nova.ext.timeline import Part, Timeline
from nova.media.live.ports import Muxer, MuxError
from nova.media.live.stream import LiveStream
from nova.media.live.window import TICKS

BURST_S: Final = 5  # seconds over which the bit rate is averaged
RESTARTS: Final = 5  # muxer failures of one publisher without a good part between them

_log = Log("nova.live")


class Host(Protocol):
    """Who keeps the streams."""

    def describe(self, stream: LiveStream) -> None:
        """The tracks of the stream are new."""
        ...

    def left(self, ingest: LiveIngest, reason: str) -> None:
        """The publisher is gone. reason: a row of media.rtmp.reasons."""
        ...


class LiveIngest:
    """One publisher of a stream, from its publish to its end. Implements media.rtmp.server.Ingest.

    make_muxer: a fresh muxer; once more after each failure.
    """

    def __init__(self, stream: LiveStream, key: str | None, host: Host, make_muxer: Callable[[], Muxer]) -> None:
        self.stream = stream
        self.key = key
        self._host = host
        self._make_muxer = make_muxer
        self._muxer = make_muxer()
        shape = stream.shape
        self._timeline = Timeline(
            part_target=shape.part_target,
            segment_target=shape.segment_target,
            target_duration=shape.target_duration,
            gap=shape.timeline_gap,
            track_wait=shape.track_wait,
            track_timeout=shape.track_timeout,
            fixed_part_target=stream.part_target,
            position=stream.position,
            max_segment=shape.max_segment,
            short_start=not stream.part_target,
        )
        self._told: dict[str, int] = {}
        self._failures = 0
        self._level = 0.0  # bytes above the allowed rate
        self.declared_bandwidth = 0  # bits a second, of onMetaData; 0: not said
        self.over = False

    # media.rtmp.server.Ingest

    def metadata(self, values: Mapping[str, object]) -> None:
        video = any(name in values for name in ("videocodecid", "videodatarate", "width"))
        audio = any(name in values for name in ("audiocodecid", "audiodatarate", "audiosamplerate"))
        if video or audio:
            rate = _number(values, "framerate") or _number(values, "fps")
            self._timeline.expect(video=video, audio=audio, frame_rate=rate)
        self.declared_bandwidth = int(1000 * (_number(values, "videodatarate") + _number(values, "audiodatarate")))

    def media(self, records: bytes | Buffer) -> int | None:
        """See media.rtmp.server.Ingest. Raises RateLimited: above `live.max_bitrate`; Unprocessable: nothing of it can be written."""
        timeline = self._timeline
        parts = timeline.feed(records)
        if not parts:
            self._level += len(records)
            if self._level > self._allowance:
                raise self._too_fast()
            return timeline.wake_at
        self._deliver(parts)
        self._level = max(0.0, self._level + len(records) - self.stream.shape.max_bitrate * (parts[-1].end - parts[0].start) / TICKS)
        if self._level > self._allowance:
            raise self._too_fast()
        self._report()
        return self._timeline.wake_at

    def end(self, reason: str) -> None:
        if self.over:
            return
        self.over = True
        try:
            parts = self._timeline.end()
            if parts:
                self._deliver(parts)
            self._report()
        except Unprocessable:
            _log.info("live_end_not_written", stream=self.stream.id)
        finally:
            self._muxer.close()
            self.stream.cut()
            self.stream.flush()
            self._host.left(self, reason)

    # Inside

    @property
    def _allowance(self) -> float:
        return BURST_S * self.stream.shape.max_bitrate

    def _too_fast(self) -> RateLimited:
        return RateLimited(detail="The publisher sends more than live.max_bitrate allows.")

    def _deliver(self, parts: list[Part]) -> None:
        stream = self.stream
        if not stream.part_target:
            stream.part_target = self._timeline.part_target_ticks
        try:
            for part in parts:
                stream.take(part, self._muxer, self._changed)
            self._failures = 0
        except MuxError as error:
            self._restart(error)
        finally:
            stream.flush()

    def _changed(self) -> None:
        self._host.describe(self.stream)

    def _restart(self, error: MuxError) -> None:
        """The muxer failed: the stream goes on with a new timeline, at the next key frame."""
        _log.warning("muxer_restarted", stream=self.stream.id, detail=str(error))
        self.stream.warn("muxer_restarted")
        self._failures += 1
        if self._failures > RESTARTS:
            raise Unprocessable(detail="The media cannot be written.") from None
        self._timeline.anew()
        self.stream.cut()
        self._muxer.close()
        self._muxer = self._make_muxer()

    def _report(self) -> None:
        """Tell the stream what the timeline saw since the last time."""
        troubles = self._timeline.troubles()
        if troubles != self._told:
            for code, count in troubles.items():
                if new := count - self._told.get(code, 0):
                    self.stream.warn(code, new)
            self._told = troubles

    @property
    def counters(self) -> Mapping[str, int]:
        """Of the timeline; see nova.ext.timeline."""
        counters: Mapping[str, int] = self._timeline.counters()
        return counters


def _number(values: Mapping[str, object], name: str) -> float:
    """A finite number above 0, else 0."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else 0.0
