"""The live streams of this node: who publishes, who went away, what is still served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import trio

from nova.core.clock import Clock
from nova.core.errors import RateLimited
from nova.core.log import Log
from nova.media.hls import names
from nova.media.hls.output import HlsOutput
from nova.media.hls.playlist import ASSUMED_BANDWIDTH, OVERHEAD, Variant, average_bandwidth, peak_bandwidth
from nova.media.live.ingest import LiveIngest
from nova.media.live.ports import Muxer, Objects, Watcher
from nova.media.live.stream import LiveStream, Shape, State
from nova.media.live.troubles import TROUBLES
from nova.media.live.window import TICKS

SWEEP_S: Final = 0.5  # how late a grace time or a linger may end
# Reasons (media.rtmp.reasons, media.streams) after which a publisher is not waited for.
FINAL: Final = frozenset({"unpublished", "stopped", "deleted", "key_revoked", "shutdown"})

_log = Log("nova.live")


class _Live:
    """A stream with its publisher and its HLS side."""

    def __init__(self, stream: LiveStream, hls: HlsOutput) -> None:
        self.stream = stream
        self.hls = hls
        self.ingest: LiveIngest | None = None
        self.described_at = 0  # segments measured when the multivariant playlist was last put


class LiveStreams:
    """Every stream that is live, reconnecting, or ended so short a time ago that it is still served.

    Synchronous: called by the RTMP server's handler and by the streams service, all in the trio thread.
    most: publishers at once. make_muxer: see muxers.make. is_private: whether a stream's media needs a session.
    """

    def __init__(
        self,
        objects: Objects,
        clock: Clock,
        *,
        shape: Shape,
        make_muxer: Callable[[], Muxer],
        watcher: Watcher,
        is_private: Callable[[str], bool] = lambda stream: False,
        most: int = 1000,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._shape = shape
        self._make_muxer = make_muxer
        self._watcher = watcher
        self._is_private = is_private
        self._most = most
        self._streams: dict[str, _Live] = {}
        self._tags: list[int] = []
        self._next_tag = 1

    # Publishers

    def publish(self, stream_id: str, key: str | None = None) -> LiveIngest:
        """A publisher for this stream; the stream goes on when it is still known. A running one has to be ended first, or it is now.

        Raises RateLimited `quota_exceeded`: `limits.publishers` are there already.
        """
        live = self._streams.get(stream_id)
        if live is not None and live.ingest is not None:
            live.ingest.end("takeover")
        if live is not None and live.stream.state is State.ENDED:
            self._forget(live)  # its playlist has said that nothing follows
            live = None
        if live is None:
            if sum(each.ingest is not None for each in self._streams.values()) >= self._most:
                raise RateLimited("quota_exceeded", f"{self._most} streams are published already.")
            live = self._open(stream_id)
        live.stream.publishing()
        live.ingest = LiveIngest(live.stream, key, self, self._make_muxer)
        self._watcher.started(stream_id, key)
        return live.ingest

    def _open(self, stream_id: str) -> _Live:
        tag = self._tags.pop() if self._tags else self._next_tag
        self._next_tag = max(self._next_tag, tag + 1)
        stream = LiveStream(stream_id, tag, self._shape, self._clock)
        hls = HlsOutput(
            stream_id,
            stream.window,
            self._objects,
            target=round(self._shape.target_duration * TICKS),
            part_target=lambda: stream.part_target,
            tag=tag,
            private=self._is_private(stream_id),
            epoch=f"{int(stream.started_wall * 1000):x}",
        )
        stream.outputs.append(hls)
        live = self._streams[stream_id] = _Live(stream, hls)
        _log.info("live_began", stream=stream_id)
        return live

    # ingest.Host

    def describe(self, stream: LiveStream) -> None:
        live = self._streams[stream.id]
        init = stream.tracks
        if init is None:
            return
        declared = live.ingest.declared_bandwidth if live.ingest is not None else 0
        measured = peak_bandwidth(list(stream.rates), round(self._shape.target_duration * TICKS))
        # Declared until measured, and from then on never less than any viewer has seen.
        bandwidth = measured or int(declared * OVERHEAD) or ASSUMED_BANDWIDTH
        live.hls.describe(
            Variant.of(
                init.tracks,
                bandwidth=_rounded(bandwidth),
                average=_rounded(average_bandwidth(stream.rates)),
                frame_rate=self._frame_rate(live),
            )
        )

    def left(self, ingest: LiveIngest, reason: str) -> None:
        live = self._streams.get(ingest.stream.id)
        if live is None or live.ingest is not ingest:
            return
        live.ingest = None
        if reason == "takeover":
            live.stream.lost()  # until the next publisher is there, within the same call; or never, when it is refused
        elif reason in FINAL or not live.stream.window.listed or self._shape.reconnect_grace <= 0:
            self._end(live, reason)
        else:
            live.stream.lost()
            self._watcher.lost(live.stream.id)

    # Time

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps the deadlines; until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """End grace times that are over, forget what has been ended for long enough, tell players of measured bandwidths."""
        now = self._clock.monotonic()
        for live in list(self._streams.values()):
            stream = live.stream
            if stream.deadline is not None and stream.deadline <= now:
                if stream.state is State.RECONNECTING:
                    self._end(live, "disconnected")
                elif stream.state is State.ENDED:
                    self._forget(live)
            elif stream.segments != live.described_at:
                live.described_at = stream.segments
                self.describe(stream)

    # What the rest of Nova asks for

    def stop(self, stream_id: str, reason: str = "stopped") -> bool:
        """End the broadcast now, without a grace time; its publisher's connection is the RTMP server's to end. False: none ran."""
        live = self._streams.get(stream_id)
        if live is None or live.stream.state is State.ENDED:
            return False
        if live.ingest is not None:
            live.ingest.end(reason if reason in FINAL else "stopped")
        else:
            self._end(live, reason)
        return True

    def forget(self, stream_id: str) -> None:
        """Nothing of the stream is served any more, at once; what still runs ends."""
        self.stop(stream_id, "deleted")
        live = self._streams.get(stream_id)
        if live is not None:
            self._forget(live)

    def hide(self, stream_id: str, private: bool) -> None:
        live = self._streams.get(stream_id)
        if live is not None:
            live.hls.hide(private)

    def render(self, path: bytes) -> None:
        """Somebody asks for a playlist that nobody has rendered yet."""
        stream_id = names.stream_of(path)
        live = self._streams.get(stream_id) if stream_id is not None else None
        if live is not None and live.stream.window.listed:
            live.hls.render()

    def state(self, stream_id: str) -> State | None:
        """None: idle, or forgotten."""
        live = self._streams.get(stream_id)
        return None if live is None else live.stream.state

    def tag(self, stream_id: str) -> int:
        """The number that the object table counts the viewers of this stream under; 0: it is not served."""
        live = self._streams.get(stream_id)
        return 0 if live is None else live.stream.tag

    @property
    def publishers(self) -> int:
        return sum(live.ingest is not None for live in self._streams.values())

    def numbers(self, stream_id: str) -> Mapping[str, object]:
        """What a streamer reads about the publisher; empty when none runs. Bits a second, seconds, frames."""
        live = self._streams.get(stream_id)
        if live is None or live.ingest is None:
            return {}
        stream, counters = live.stream, live.ingest.counters
        found: dict[str, object] = {
            "bitrate": average_bandwidth(list(stream.rates)[-5:]),
            "frame_rate": round(self._frame_rate(live), 3),
            "key_frame_interval_s": round(counters["gop_ticks"] / TICKS, 3),
            "video_frames": counters["video_frames"],
            "audio_frames": counters["audio_frames"],
            "dropped_frames": counters["dropped_frames"],
            "window_bytes": stream.window.size_bytes,
            "warnings": [{"code": code, "count": count, "text": TROUBLES[code]} for code, count in stream.warnings.items()],
        }
        if stream.tracks is not None:
            tracks = stream.tracks.tracks
            found["codecs"] = tracks.codecs
            if tracks.video is not None:
                found |= {"width": tracks.video.width, "height": tracks.video.height}
            if tracks.audio is not None:
                found |= {"sample_rate": tracks.audio.rate, "channels": tracks.audio.channels}
        return found

    def close(self) -> None:
        """The server goes: every broadcast ends, and nothing is served any more."""
        for live in list(self._streams.values()):
            if live.ingest is not None:
                live.ingest.end("shutdown")
            elif live.stream.state is not State.ENDED:
                self._end(live, "shutdown")

    # Inside

    def _frame_rate(self, live: _Live) -> float:
        """Of the SPS, else of onMetaData or of the last frames."""
        init = live.stream.tracks
        if init is None or init.tracks.video is None:
            return 0.0
        frames, seconds = init.tracks.video.frame_rate
        if seconds and 1 <= frames / seconds <= 300:
            return float(frames / seconds)
        interval = live.ingest.counters["interval_ticks"] if live.ingest is not None else 0
        return TICKS / interval if interval else 0.0

    def _end(self, live: _Live, reason: str) -> None:
        live.stream.end()
        _log.info("live_ended", stream=live.stream.id, reason=reason, segments=live.stream.segments)
        self._watcher.ended(live.stream.id, reason)
        if not live.stream.window.listed:
            self._forget(live)

    def _forget(self, live: _Live) -> None:
        live.stream.close()
        del self._streams[live.stream.id]
        self._tags.append(live.stream.tag)


def _rounded(bandwidth: int) -> int:
    """Up to two digits of weight: the playlist changes when something changed, not with every segment."""
    unit: int = 10 ** max(len(str(bandwidth)) - 2, 0)
    return -(-bandwidth // unit) * unit
