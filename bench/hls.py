"""A viewer of LL-HLS that notes when each part came, and what was in it."""

import http.client
import re
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin


@dataclass(frozen=True, slots=True)
class Part:
    msn: int  # media sequence number of its segment
    index: int  # within the segment
    served_ns: int  # the last byte was read then (CLOCK_MONOTONIC)
    waited: bool  # it was asked for before it existed
    runs: list[list[int]]  # for each track fragment: the sizes of its samples


def boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the payload, end) of the ISO BMFF boxes in a range."""
    end = len(data) if end is None else end
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            raise ValueError(f"box {kind!r} of {size} bytes")
        yield kind, at + 8, at + size
        at += size


def sample_sizes(part: bytes) -> list[list[int]]:
    """The sample sizes of every traf (ISO/IEC 14496-12, sections 8.8.7 and 8.8.8)."""
    found = []
    for kind, begin, end in boxes(part):
        if kind != b"moof":
            continue
        for inner, traf, traf_end in boxes(part, begin, end):
            if inner != b"traf":
                continue
            sizes: list[int] = []
            default = 0
            for box, at, _ in boxes(part, traf, traf_end):
                flags = struct.unpack_from(">I", part, at)[0] & 0xFFFFFF
                if box == b"tfhd":
                    offset = at + 8 + (8 if flags & 1 else 0) + (4 if flags & 2 else 0) + (4 if flags & 8 else 0)
                    default = struct.unpack_from(">I", part, offset)[0] if flags & 0x10 else 0
                elif box == b"trun":
                    (count,) = struct.unpack_from(">I", part, at + 4)
                    offset = at + 8 + (4 if flags & 1 else 0) + (4 if flags & 4 else 0)
                    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
                    for i in range(count):
                        here = offset + 4 * (len(fields) * i + (fields.index(0x200) if 0x200 in fields else 0))
                        sizes.append(struct.unpack_from(">I", part, here)[0] if 0x200 in fields else default)
            found.append(sizes)
    return found


class Viewer:
    """Follows one stream by its preload hints, in a thread of its own."""

    def __init__(self, port: int, multivariant: str) -> None:
        self.parts: list[Part] = []
        self.media = ""  # path of the media playlist, once it is known
        self._error: BaseException | None = None
        self._port = port
        self._start = multivariant
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Viewer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)

    def wait(self, seconds: float) -> None:
        """Watch that long. Raises what went wrong meanwhile."""
        self._thread.join(seconds)
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # handed to the thread that asks
            if not self._stop.is_set():
                self._error = error

    def _get(self, connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()

    def media_playlist(self, connection: http.client.HTTPConnection) -> str:
        """The path of the first variant, once the stream is live."""
        while not self._stop.is_set():
            status, body = self._get(connection, self._start)
            if status == 200:
                return urljoin(self._start, next(line for line in body.decode().splitlines() if line and not line.startswith("#")))
            time.sleep(0.02)
        raise RuntimeError("stopped")

    def _follow(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        media = self.media = self.media_playlist(connection)
        query = ""
        while not self._stop.is_set():
            status, body = self._get(connection, media + query)
            if status != 200:
                raise RuntimeError(f"{media}{query}: {status} {body[:200]!r}")
            playlist = body.decode()
            hint = re.search(r'#EXT-X-PRELOAD-HINT:.*URI="([^"]+)"', playlist)
            if hint is None:
                return  # the stream has ended
            path = urljoin(media, hint[1])
            msn, index = next_part(playlist)
            asked = time.monotonic_ns()
            status, body = self._get(connection, path)
            served = time.monotonic_ns()
            if status == 404:
                return  # it ended before that part
            # Less than a millisecond: it was there already, and says nothing of how fast it came.
            self.parts.append(Part(msn, index, served, served - asked > 1_000_000, sample_sizes(body)))
            query = f"?_HLS_msn={msn}&_HLS_part={index}"


def next_part(playlist: str) -> tuple[int, int]:
    """(media sequence number, part) that the preload hint of a playlist stands for."""
    found = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", playlist)
    msn, part = int(found[1]) if found else 0, 0
    for line in playlist.splitlines():
        if line.startswith("#EXTINF:"):
            msn, part = msn + 1, 0
        elif line.startswith("#EXT-X-PART:"):
            part += 1
    return msn, part


@dataclass(frozen=True, slots=True)
class Frame:
    timestamp_ms: int
    size: int
    sent_ns: int


def frames(log: Path) -> list[Frame]:
    """What rtmp_load noted of the first connection: its video messages."""
    rows = (line.split() for line in log.read_text().splitlines())
    return [Frame(int(row[1]), int(row[2]), int(row[3])) for row in rows if len(row) == 4]


FLV_VIDEO_HEADER = 5  # bytes before the access unit in a video message


def closers(parts: list[Part], sent: list[Frame]) -> dict[tuple[int, int], tuple[int, int]]:
    """Of each part: when the kernel had the last byte of its own last video frame, and of the frame after it (ns).

    Which of the two closes a part is the server's choice: it may know that no further frame belongs to the part, or learn it from the
    next one. Frames are found by their sizes, which the way from RTMP to fMP4 does not change.
    """
    sizes = [frame.size - FLV_VIDEO_HEADER for frame in sent]
    found = {}
    at = 0
    for part in parts:
        for run in part.runs:
            begin = next((i for i in range(at, len(sizes) - len(run)) if sizes[i : i + len(run)] == run), None) if run else None
            if begin is not None:
                at = begin + len(run)
                found[part.msn, part.index] = (sent[at - 1].sent_ns, sent[at].sent_ns)
                break
    return found
