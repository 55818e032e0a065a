"""A live LL-HLS origin whose stream is a function of time: the demo, encoded before, released part by part as if it were live.

For the player only: the server's own HLS is tested where it is made. Playlists follow RFC 8216bis (parts, preload hint,
blocking reload); what goes wrong, a test switches on.
"""

from __future__ import annotations

import struct
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from nova.media.demo.broadcast import FPS, Broadcast
from nova.media.rtmp import flv

PART_S = 0.2
SEGMENT_S = 2.0
PARTS = round(SEGMENT_S / PART_S)
WINDOW = 6  # segments in a playlist
AHEAD_S = 30.0  # a request for something further away is answered at once, 400
WIDTH, HEIGHT = 384, 216  # small: the browser decodes on the processor
STAMPED_FROM = 1_700_000_000.0  # the time that the first frame shows, seconds since 1970


@dataclass(frozen=True)
class Recording:
    """The stream: an init segment and parts of 200 ms, ten a segment."""

    init: bytes
    parts: list[bytes]


def record(seconds: int) -> Recording:
    """Encode the demo and cut it, by ffmpeg, at every sixth frame."""
    broadcast = Broadcast(STAMPED_FROM, WIDTH, HEIGHT)
    tags = [*broadcast.head(), *(tag for i in range(seconds * FPS) for tag in broadcast.frame(i, STAMPED_FROM + i / FPS))]
    file = flv.file_header(audio=True, video=True) + b"".join(map(flv.tag_bytes, tags))
    movflags = "+empty_moov+default_base_moof+frag_keyframe+frag_discont"
    command = ["ffmpeg", "-v", "error", "-f", "flv", "-i", "-", "-c", "copy", "-movflags", movflags]
    command += ["-frag_duration", str(int(PART_S * 1e6) - 5000), "-f", "mp4", "-"]
    mp4 = subprocess.run(command, input=file, capture_output=True, check=True, timeout=120).stdout
    boxes = []
    at = 0
    while at < len(mp4):
        size, kind = struct.unpack_from(">I4s", mp4, at)
        boxes.append((kind, mp4[at : at + size]))
        at += size
    init = b"".join(data for kind, data in boxes if kind in (b"ftyp", b"moov"))
    moofs = [i for i, (kind, _) in enumerate(boxes) if kind == b"moof"]
    return Recording(init, [boxes[i][1] + boxes[i + 1][1] for i in moofs][: int(seconds / PART_S)])


@dataclass
class Origin:
    """`recording` as a live stream that began `head_start` seconds ago."""

    recording: Recording
    head_start: float = 5.0
    began: float = field(init=False)
    ends: float | None = None  # seconds of the stream after which it is over: ENDLIST
    frozen: float | None = None  # seconds of the stream after which nothing comes any more
    broken: int = 0  # a status for every request
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = time.time() - self.head_start

    @cached_property
    def _all(self) -> int:
        return len(self.recording.parts)

    def released(self) -> int:
        """Parts that are whole now."""
        age = time.time() - self.began
        limits = [limit for limit in (self.ends, self.frozen) if limit is not None]
        return min(int(min(age, *limits, 1e9) / PART_S + 1e-6), self._all)

    def delay(self, stamped_ms: int, now: float) -> float:
        """Seconds since the frame that shows `stamped_ms` was made, had it been made live."""
        return now - (self.began + stamped_ms / 1000 - STAMPED_FROM)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes, str]:
        """Status, body, content type. Waits for what is about to come."""
        self.asked.append(path)
        if self.broken:
            return self.broken, b"", "text/plain"
        match path.rpartition("/")[2].split("."):
            case ["index", "m3u8"]:
                return 200, self._multivariant(), "application/vnd.apple.mpegurl"
            case ["media", "m3u8"]:
                if not self._wait_for(int(query.get("_HLS_msn", 0)), int(query["_HLS_part"]) if "_HLS_part" in query else None):
                    return 503, b"", "text/plain"
                return 200, self._media(), "application/vnd.apple.mpegurl"
            case ["init", "mp4"]:
                return 200, self.recording.init, "video/mp4"
            case ["part", number, "m4s"]:
                if not self._wait(int(number) + 1):
                    return 404, b"", "text/plain"
                return 200, self.recording.parts[int(number)], "video/mp4"
            case ["seg", number, "m4s"]:
                first = int(number) * PARTS
                return 200, b"".join(self.recording.parts[first : first + PARTS]), "video/mp4"
        return 404, b"", "text/plain"

    def _wait_for(self, segment: int, part: int | None) -> bool:
        return self._wait(segment * PARTS + part + 1 if part is not None else (segment + 1) * PARTS)

    def _wait(self, parts: int) -> bool:
        deadline = time.time() + 3 * SEGMENT_S
        while self.released() < parts:
            if self.ends is not None and time.time() - self.began > self.ends:
                return True
            if time.time() > deadline:
                return False
            time.sleep(0.004)
        return True

    def _multivariant(self) -> bytes:
        return (
            b'#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="avc1.42c00d,mp4a.40.2",'
            b"RESOLUTION=384x216,FRAME-RATE=30.000\nmedia.m3u8\n"
        )

    def _media(self) -> bytes:
        released = self.released()
        last = released // PARTS  # the segment that is growing
        first = max(0, last - WINDOW)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:9",
            "#EXT-X-TARGETDURATION:4",
            f"#EXT-X-PART-INF:PART-TARGET={PART_S}",
            f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={3 * PART_S:.1f},HOLD-BACK=12.0",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
            '#EXT-X-MAP:URI="init.mp4"',
        ]
        for segment in range(first, last + 1):
            at = datetime.fromtimestamp(self.began + segment * SEGMENT_S, UTC).isoformat(timespec="milliseconds")
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{at}")
            if segment >= last - 2:
                for part in range(segment * PARTS, min(released, (segment + 1) * PARTS)):
                    independent = ",INDEPENDENT=YES" if part % PARTS == 0 else ""
                    lines.append(f'#EXT-X-PART:DURATION={PART_S},URI="part.{part}.m4s"{independent}')
            if segment < last:
                lines += [f"#EXTINF:{SEGMENT_S},", f"seg.{segment}.m4s"]
        if self.ends is not None and released >= int(self.ends / PART_S + 1e-6):
            lines.append("#EXT-X-ENDLIST")
        else:
            lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="part.{released}.m4s"')
        return ("\n".join(lines) + "\n").encode()
