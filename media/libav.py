"""The door to libav (PyAV). Here: fragmented MP4 for live parts; the oracle of the compiled writer, and the way for every codec that
it does not know.

What shapes this file, all seen with PyAV 18 (libavformat 62):
- An output stream cannot be given a decoder configuration. The way is a template: an FLV header with the publisher's two sequence
  headers, opened without probing; its streams carry the configurations. Size and sampling rate are set afterwards, from our own
  parsing: the FLV demuxer does not know them.
- A fragment cannot be flushed: it comes out with the next packet, or with the close. A part may not wait for a packet of the next
  part, so each part is a container of its own, of which only the fragment is kept. Closing also empties the interleaver.
- `frag_discont` keeps the absolute time of a track's first packet; without it every container would begin at 0. `cmaf` and
  `negative_cts_offsets` would shift it by the first composition offset.
- Errors raised by a sink are stashed and come up later, elsewhere: the sink here does not raise.
- `close` once, on every path, never in a finalizer.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import av
import av.error

from nova.core.errors import BadRequest
from nova.ext.buffer import Arena, Buffer
from nova.ext.timeline import Part, Tracks
from nova.media.live.ports import MuxError

_FRAGMENT: Final = "frag_custom+empty_moov+default_base_moof+frag_discont+skip_trailer"
_PIECE: Final = 32 << 10  # bytes that libav gathers before it calls the sink; more would be mapped and unmapped for each part
_VIDEO_BASE: Final = Fraction(1, 90_000)
_LATE_MOST: Final = 32  # pictures; H.264 and HEVC reorder at most 16


class _Sink:
    """Where libav writes: it has no `seek`, so nothing that was written is changed later."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def _flv_tag(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + bytes(7) + body + (len(body) + 11).to_bytes(4, "big")


def _template(tracks: Tracks) -> Any:
    """A container whose streams have the decoder configurations of `tracks`, and no packets."""
    flags = (4 if tracks.audio is not None else 0) | (1 if tracks.video is not None else 0)
    data = b"FLV\x01" + bytes((flags,)) + b"\0\0\0\x09\0\0\0\0"
    if tracks.video is not None:
        data += _flv_tag(9, b"\x17\0\0\0\0" + tracks.video.config)
    if tracks.audio is not None:
        data += _flv_tag(8, b"\xaf\0" + tracks.audio.config)
    return av.open(io.BytesIO(data), format="flv", options={"analyzeduration": "0", "probesize": "32"})


class PyavMuxer:
    """Fragmented MP4 through libav, a container for each part."""

    def __init__(self) -> None:
        self._tracks: Tracks | None = None
        self._template: Any = None
        self._sequence = 0

    def init(self, tracks: Tracks) -> bytes:
        self.close()
        try:
            self._template = _template(tracks)
            self._tracks = tracks
            sink = _Sink()
            container, _, _ = self._open(sink)
            container.close()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MuxError(f"libav refused the tracks: {error}") from None
        return b"".join(sink.pieces)

    def part(self, part: Part, arena: Arena) -> Buffer:
        if part.tracks is not self._tracks:
            raise MuxError("the part is of another period")
        sink = _Sink()
        try:
            container, video, audio = self._open(sink)
            header = sum(map(len, sink.pieces))
            try:
                for packet in self._packets(part, video, audio):
                    container.mux_one(packet)
            finally:
                container.close()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MuxError(f"libav refused the part: {error}") from None
        data = b"".join(sink.pieces)[header:]
        self._sequence += 1
        try:
            return arena.append(data)
        except ValueError as error:
            raise MuxError(str(error)) from None

    def close(self) -> None:
        template, self._template, self._tracks = self._template, None, None
        if template is not None:
            template.close()

    def _open(self, sink: _Sink) -> tuple[Any, Any, Any]:
        """A container that has written its header, and its streams."""
        assert self._tracks is not None
        container = av.open(
            sink,
            "w",
            format="mp4",
            options={
                "movflags": _FRAGMENT,
                "fragment_index": str(self._sequence + 1),
                "use_editlist": "0",
                "avoid_negative_ts": "disabled",
                "max_interleave_delta": "0",
                "fflags": "+bitexact",
            },
            buffer_size=_PIECE,
        )
        try:
            video = audio = None
            if self._tracks.video is not None:
                video = container.add_stream_from_template(self._template.streams.video[0], opaque=True)
                video.codec_context.width = self._tracks.video.width
                video.codec_context.height = self._tracks.video.height
                video.time_base = _VIDEO_BASE
            if self._tracks.audio is not None:
                audio = container.add_stream_from_template(self._template.streams.audio[0], opaque=True)
                audio.codec_context.sample_rate = self._tracks.audio.rate
            container.start_encoding()
        except BaseException:
            container.close()
            raise
        return container, video, audio

    def _packets(self, part: Part, video: Any, audio: Any) -> list[Any]:
        """The frames as packets, in the streams' own time bases: with none set on the packet, nothing is rescaled."""
        packets = []
        for stream, frames in ((video, part.video), (audio, part.audio)):
            for dts, duration, offset, key, data in frames:
                packet = av.Packet(data)
                packet.stream = stream
                packet.dts = dts
                packet.pts = dts + offset
                packet.duration = duration
                packet.is_keyframe = key
                packets.append(packet)
        return packets


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
