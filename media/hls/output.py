"""A live stream as LL-HLS: its window's parts, segments and playlists, put where players ask for them.

A part costs three calls to the object table; its playlist is rendered and compressed when somebody waits for it or asks for it,
once for everybody (docs/decisions/0032-playlists-on-demand.md).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Final
from zlib import crc32

from nova.ext.buffer import Buffer
from nova.media.hls import names, playlist
from nova.media.hls.playlist import Variant
from nova.media.live.ports import Objects
from nova.media.live.window import TICKS, Init, PartInfo, Segment, Window

COMPRESSION: Final = 1  # of gzip: playlists repeat themselves, higher levels gain little and cost twice
LAST_VERSION: Final = 1 << 62  # of an ended playlist: whatever a player waits for will not come
SEGMENT_AGE: Final = 6  # target durations for which a cache may keep media (RFC 8216bis, B.1)

_CORS: Final = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Content-Length, Content-Range, Date, ETag, Cache-Status\r\n"
)
_M3U8: Final = b"Content-Type: application/vnd.apple.mpegurl\r\nVary: Accept-Encoding\r\n"
_MP4: Final = b"Content-Type: video/mp4\r\n"


class HlsOutput:
    """The LL-HLS side of one stream.

    part_target: asked when a playlist is rendered, ticks. epoch: tells this run of the stream from an earlier one in ETags.
    """

    def __init__(
        self,
        stream: str,
        window: Window,
        objects: Objects,
        *,
        target: int,
        part_target: Callable[[], int],
        tag: int,
        private: bool,
        epoch: str,
    ) -> None:
        self._stream = stream
        self._window = window
        self._objects = objects
        self._target = target
        self._part_target = part_target
        self._tag = tag
        self._private = private
        self._epoch = epoch
        self._path = names.path(stream, names.MEDIA)
        self._hinted = b""
        self._variant: Variant | None = None
        self._inits: dict[int, Init] = {}
        self._changed = False
        self._ended = False
        self._set_headers()

    def _set_headers(self) -> None:
        who = b"private" if self._private else b"public"
        age = SEGMENT_AGE * self._target // TICKS
        lasting = b"Cache-Control: %b, max-age=%d\r\n" % (who, age)
        # A playlist is asked for anew after every part; what blocks for a newer one is fresh by its query.
        self._playlist_headers = _M3U8 + b"Cache-Control: %b, no-cache\r\n" % who + _CORS
        self._media_headers = _MP4 + lasting + _CORS

    def _put(self, name: str, headers: bytes, body: list[Buffer], mark: str) -> None:
        etag = f'"{mark}-{self._epoch}"'.encode()
        self._objects.put(names.path(self._stream, name), headers, body, etag=etag, tag=self._tag, private=self._private)

    @property
    def version(self) -> int:
        """Of the media playlist: the segment under way in the upper bits, its parts in the lower 16."""
        under_way = self._window.open
        if self._ended:
            return LAST_VERSION
        return self._window.next_msn << 16 if under_way is None else under_way.msn << 16 | len(under_way.parts)

    # What the stream tells

    def init(self, init: Init) -> None:
        self._inits[init.number] = init
        self._put(names.init(init.number), self._media_headers, [Buffer(init.data)], f"i{init.number}")

    def part(self, segment: Segment, part: PartInfo) -> None:
        self._put(names.part(segment.msn, part.index), self._media_headers, [part.data], f"{segment.msn}.{part.index}")
        self._hint(names.part(segment.msn, part.index + 1), arrived=True)
        self._changed = True

    def segment(self, segment: Segment) -> None:
        self._put(names.segment(segment.msn), self._media_headers, [part.data for part in segment.parts], f"{segment.msn}")
        self._hint(names.part(self._window.next_msn, 0), arrived=False)
        self._changed = True

    def _hint(self, name: str, arrived: bool) -> None:
        """The part that comes next is `name`. arrived: the one hinted before has come; else it never will."""
        before, self._hinted = self._hinted, names.path(self._stream, name)
        if before and not arrived and before != self._hinted:
            self._objects.remove(before)

    def flush(self) -> None:
        if not self._changed:
            return
        self._changed = False
        self._objects.expect(self._hinted, tag=self._tag, private=self._private)
        if self._objects.advance(self._path, self.version, tag=self._tag, private=self._private):
            self.render()

    def forget(self, segment: Segment) -> None:
        for part in segment.parts:
            self._objects.remove(names.path(self._stream, names.part(segment.msn, part.index)))
        self._objects.remove(names.path(self._stream, names.segment(segment.msn)))

    def forget_init(self, init: Init) -> None:
        del self._inits[init.number]
        self._objects.remove(names.path(self._stream, names.init(init.number)))

    def end(self) -> None:
        self._ended = True
        if self._hinted:
            self._objects.remove(self._hinted)
        self._objects.advance(self._path, LAST_VERSION, tag=self._tag, private=self._private)
        self.render()

    def close(self) -> None:
        for segment in self._window:
            self.forget(segment)
        for init in list(self._inits.values()):
            self.forget_init(init)
        if self._hinted:
            self._objects.remove(self._hinted)
        self._objects.remove(self._path)
        self._objects.remove(names.path(self._stream, names.MULTIVARIANT))

    def hide(self, private: bool) -> None:
        self._private = private
        self._set_headers()
        for init in self._inits.values():
            self._put(names.init(init.number), self._media_headers, [Buffer(init.data)], f"i{init.number}")
        for segment in self._window:
            for part in segment.parts:
                self._put(names.part(segment.msn, part.index), self._media_headers, [part.data], f"{segment.msn}.{part.index}")
            if segment.closed:
                self._put(names.segment(segment.msn), self._media_headers, [part.data for part in segment.parts], f"{segment.msn}")
        if self._variant is not None:
            self._put_multivariant(self._variant)
        if self._window.listed:
            if self._ended:
                self.end()
            else:
                self._changed = True
                self.flush()

    # Playlists

    def describe(self, variant: Variant) -> None:
        """What the stream is now; players that come see it in the multivariant playlist."""
        if variant != self._variant:
            self._variant = variant
            self._put_multivariant(variant)

    def _put_multivariant(self, variant: Variant) -> None:
        body = playlist.multivariant_playlist(variant).encode()
        mark = f'"m{crc32(body):08x}-{self._epoch}"'.encode()
        path = names.path(self._stream, names.MULTIVARIANT)
        self._objects.put(path, self._playlist_headers, [Buffer(body)], etag=mark, tag=self._tag, private=self._private)

    def render(self) -> None:
        """Put the media playlist as it is now: somebody waits for it."""
        version = self.version
        text = playlist.media_playlist(self._window, target=self._target, part_target=self._part_target(), ended=self._ended).encode()
        self._objects.put(
            self._path,
            self._playlist_headers,
            [Buffer(text)],
            etag=f'"p{version:x}-{self._epoch}"'.encode(),
            gzip=Buffer(gzip.compress(text, COMPRESSION, mtime=0)),
            version=version,
            tag=self._tag,
            private=self._private,
        )
