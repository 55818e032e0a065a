"""The door to libav (PyAV). Here: fragmented MP4 for live parts; the oracle of the compiled writer, and the way for every codec that
it does not know.

What shapes this file, all seen with PyAV 18 (libavformat 62):
- An output stream cannot be given a decoder configuration. The way is a template: an FLV header with the publisher's two sequence
  headers, opened without probing; its streams carry the configurations. Size and sampling rate are set afterwards, from our own
  parsing: the FLV demuxer does not know them.
- A fragment cannot be flushed: PyAV does not pass that call on. But libav ends a fragment when a packet comes with which it would reach
  `frag_size`, before it looks into that packet. So each part is followed by a mark: a packet of that size, on a track of its own, which
  libav refuses. Nothing is left of it: a track without packets does not appear in a fragment.
- The interleaver lets a packet go when a later one waits behind it. Marks are later than all media: one that waits lets all media
  through at once, until the next mark pushes it out.
- `frag_discont` keeps the absolute time of a track's first packet. After that libav derives a fragment's time from the durations before
  it, whatever the packets say: should they disagree, a new container begins. `cmaf` and `negative_cts_offsets` would shift times by the
  first composition offset.
- Errors raised by a sink are stashed and come up later, elsewhere: the sink here does not raise.
- `close` once, on every path, never in a finalizer.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import av
import av.error

from nova.core.errors import BadRequest
from nova.ext.buffer import Arena, Buffer
from nova.ext.timeline import Part, Tracks
from nova.media.live.ports import MuxError

_MARK_BYTES: Final = 64 << 20  # of a mark; a part has less than half of it
_MARK_RATE: Final = 8000  # ticks a second of the marks' track
_MARK_FIRST: Final = 1 << 50  # time of the first mark, in its ticks: 4 million years
_OPTIONS: Final = {
    "movflags": "empty_moov+default_base_moof+frag_discont+skip_trailer",
    "frag_size": str(_MARK_BYTES),
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
    "max_interleave_delta": "1",  # microseconds; 0 would be for ever
    "fflags": "+bitexact",
}
# Nothing is guessed: no frame is looked at, and no decoder opened, which would be most of the cost of a new publisher.
_READ_HEADS: Final = {"analyzeduration": "0", "probesize": "32", "codec_whitelist": "none"}
_PIECE: Final = 256 << 10  # bytes that libav gathers before it calls the sink: most parts whole, in one copy
_VIDEO_BASE: Final = Fraction(1, 90_000)
_LATE_MOST: Final = 32  # pictures; H.264 and HEVC reorder at most 16


_Frame = tuple[int, int, int, bool, bytes]  # dts, duration, composition offset, key, bytes; see nova.ext.timeline.Part


class _Sink:
    """Where libav writes: it has no `seek`, so nothing that was written is changed later."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(data)
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


def _flv_tag(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + bytes(7) + body + (len(body) + 11).to_bytes(4, "big")


def _template(tracks: Tracks) -> Any:
    """A container whose streams have the decoder configurations of `tracks`, and no packets. It takes 2 MB: close it soon."""
    flags = (4 if tracks.audio is not None else 0) | (1 if tracks.video is not None else 0)
    data = b"FLV\x01" + bytes((flags,)) + b"\0\0\0\x09\0\0\0\0"
    if tracks.video is not None:
        data += _flv_tag(9, b"\x17\0\0\0\0" + tracks.video.config)
    if tracks.audio is not None:
        data += _flv_tag(8, b"\xaf\0" + tracks.audio.config)
    return av.open(io.BytesIO(data), format="flv", options=_READ_HEADS)


@cache
def _mark_memory() -> Any:  # a buffer; PyAV takes all, and declares bytes
    """What all marks are made of: addresses without memory, but for a page with the head of an ADTS frame.

    AAC in MP4 has no such heads: libav refuses a track that begins with one.
    """
    memory = mmap.mmap(-1, _MARK_BYTES, flags=mmap.MAP_PRIVATE)
    memory[:2] = b"\xff\xf1"
    return memory


def _open(sink: _Sink, tracks: Tracks, template: Any, first: int) -> tuple[Any, Any, Any]:
    """A container whose header is not written yet, and its streams. first: number of its first fragment."""
    container = av.open(sink, "w", format="mp4", options={**_OPTIONS, "fragment_index": str(first)}, buffer_size=_PIECE)
    video = audio = None
    if tracks.video is not None:
        video = container.add_stream_from_template(template.streams.video[0], opaque=True)
        video.codec_context.width = tracks.video.width
        video.codec_context.height = tracks.video.height
        video.time_base = _VIDEO_BASE
    if tracks.audio is not None:
        audio = container.add_stream_from_template(template.streams.audio[0], opaque=True)
        audio.codec_context.sample_rate = tracks.audio.rate
    return container, video, audio


class _Fragments:
    """Parts that follow each other without a gap in any track, as the fragments of one container. `first`: number of the first."""

    def __init__(self, tracks: Tracks, template: Any, first: int) -> None:
        self._sink = _Sink()
        self._next: list[int | None] = [None, None]  # times of video and audio after what was written
        self._mark = av.Packet(_mark_memory())
        self._mark.dts = self._mark.pts = self._time = _MARK_FIRST
        self._container, self._video, self._audio = _open(self._sink, tracks, template, first)
        try:
            self._mark.stream = self._container.add_mux_stream("aac", rate=_MARK_RATE)
            self._container.start_encoding()
            self._container.mux_one(self._mark)
        except BaseException:
            self.close()
            raise
        self._sink.take()  # the header, which knows of the marks' track

    def follows(self, video: Sequence[_Frame], audio: Sequence[_Frame]) -> bool:
        """Whether these frames begin where the last ones of their tracks ended."""
        return all(not rows or after is None or rows[0][0] == after for rows, after in zip((video, audio), self._next, strict=True))

    def write(self, video: Sequence[_Frame], audio: Sequence[_Frame]) -> bytes:
        """The fragment of these frames."""
        mux = self._container.mux_one
        for track, (stream, rows) in enumerate(((self._video, video), (self._audio, audio))):
            for dts, duration, offset, key, data in rows:
                # In the stream's own time base: with none set on the packet, nothing is rescaled.
                packet = av.Packet(data)
                packet.stream = stream
                packet.dts = dts
                packet.pts = dts + offset
                packet.duration = duration
                packet.is_keyframe = key
                mux(packet)
            if rows:
                self._next[track] = dts + duration
        self._time += 1
        self._mark.dts = self._mark.pts = self._time
        try:
            mux(self._mark)
        except av.error.PermissionError:  # of the mark before this one
            return self._sink.take()
        raise ValueError("a mark was taken for media")

    def close(self) -> None:
        with suppress(av.error.FFmpegError):  # the last mark is refused too
            self._container.close()


class PyavMuxer:
    """Fragmented MP4 through libav, a container for each period."""

    def __init__(self) -> None:
        self._tracks: Tracks | None = None
        self._fragments: _Fragments | None = None
        self._sequence = 0

    def init(self, tracks: Tracks) -> bytes:
        self.close()
        sink = _Sink()
        try:
            with _template(tracks) as template:
                container, _, _ = _open(sink, tracks, template, 1)
                try:
                    container.start_encoding()
                finally:
                    container.close()
                self._fragments = _Fragments(tracks, template, self._sequence + 1)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MuxError(f"libav refused the tracks: {error}") from None
        self._tracks = tracks
        return sink.take()

    def part(self, part: Part, arena: Arena) -> Buffer:
        if part.tracks is not self._tracks:
            raise MuxError("the part is of another period")
        video, audio = part.video, part.audio
        try:
            if self._fragments is None or not self._fragments.follows(video, audio):
                self._stop()
                with _template(part.tracks) as template:
                    self._fragments = _Fragments(part.tracks, template, self._sequence + 1)
            data = self._fragments.write(video, audio)
            if len(data) <= part.size_bytes:
                raise ValueError("its frames were held back")
            made = arena.append(data)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._stop()
            raise MuxError(f"libav refused the part: {error}") from None
        self._sequence += 1
        return made

    def close(self) -> None:
        self._stop()
        self._tracks = None

    def _stop(self) -> None:
        fragments, self._fragments = self._fragments, None
        if fragments is not None:
            fragments.close()


def missing_codecs() -> list[str]:
    """What this build of libav should have and has not: decoders of what people send, encoders of the demo and of renditions."""
    wanted: tuple[tuple[str, Literal["r", "w"]], ...] = (("h264", "r"), ("aac", "r"), ("libx264", "w"), ("aac", "w"))
    missing = []
    for name, mode in wanted:
        try:
            av.Codec(name, mode)
        except (av.codec.codec.UnknownCodecError, ValueError):
            missing.append(f"{'encoder' if mode == 'w' else 'decoder'} {name}")
    return missing


def _timed(packets: Iterator[Any]) -> Iterator[Any]:
    """The packets, all with a decoding time. Matroska stores none: libav derives it, but not for the first pictures before B-frames."""
    untimed: dict[int, list[Any]] = {}  # by track; as many as a picture may be late
    for packet in packets:
        if packet.size == 0:
            continue  # the demuxer's mark at the end of a track
        waiting = untimed.setdefault(packet.stream_index, [])
        if packet.dts is None:
            if len(waiting) == _LATE_MOST:
                raise ValueError("pictures have no decoding times")
            waiting.append(packet)
            continue
        for back, early in enumerate(reversed(waiting), 1):
            early.dts = packet.dts - back * (packet.duration or 1)
        yield from waiting
        waiting.clear()
        yield packet


def remux_flv(path: Path) -> Iterator[bytes]:
    """A media file as FLV, its packets unchanged: the first video and the first audio track. Blocking; memory for a packet or two.

    Raises BadRequest: libav cannot read the file, or FLV cannot carry what is in it.
    """
    try:
        with av.open(str(path)) as source:
            tracks = [*source.streams.video[:1], *source.streams.audio[:1]]
            if not tracks:
                raise BadRequest(detail=f"{path} has neither picture nor sound")
            sink = _Sink()
            with av.open(sink, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as target:
                outputs = {track.index: target.add_stream_from_template(track, opaque=True) for track in tracks}
                for packet in _timed(source.demux(*tracks)):
                    packet.stream = outputs[packet.stream_index]
                    target.mux(packet)
                    yield from sink.pieces
                    sink.pieces.clear()
            yield from sink.pieces
    except (av.error.FFmpegError, ValueError) as error:
        remedy = f"convert it first: ffmpeg -i {path.name} -c:v libx264 -c:a aac out.flv"
        raise BadRequest(detail=f"{path} cannot be sent as it is ({error}); {remedy}") from error
